"""Archives and specifiers: against kaldi-native-io, pydrobert-kaldi and kaldiio both ways, and with damaged files."""

import contextlib
import gzip
import io
import os
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import kaldi_native_io as kio
import kaldiio
import numpy as np
import pytest

from pyspk.errors import UserError
from pyspk.tables import archive as archive_module
from pyspk.tables import stream as stream_module
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, locate, read_scp, read_vector, write_vector
from pyspk.tables.matrix import AUTOMATIC, COMPRESSION_METHODS, encode, parse_head
from pyspk.tables.specifiers import open_writer, read_values


def feats(n_frames=37, dim=11, seed=0):
    return (np.random.default_rng(seed).normal(10, 4, (n_frames, dim))).astype(np.float32)


# ---- what others write is read, and what is written here others read

MATRIX, VECTOR = feats(), feats()[0]
COMPRESSIBLE = {4: np.rint(MATRIX * 50), 6: np.rint(np.clip(MATRIX, 0, 255)), 7: np.clip(MATRIX / 30, 0, 1)}
STEP = {1: 0.2, 2: 0.2, 3: 1e-3, 4: 1e-3, 5: 0.1, 6: 1e-5, 7: 1 / 500}      # how far a compressed value may be off
KIO = {"FM": ("FloatMatrix", MATRIX), "DM": ("DoubleMatrix", MATRIX.astype(np.float64)),
       "FV": ("FloatVector", VECTOR), "DV": ("DoubleVector", VECTOR.astype(np.float64))}
PYDROBERT = {"FM": "fm", "DM": "dm", "FV": "fv", "DV": "dv"}


def both(path):
    """key -> value, read as a stream and through the scp, of path.ark and path.scp; they must be the same."""
    streamed, indexed = dict(read_values(f"ark:{path}.ark")), dict(read_values(f"scp:{path}.scp"))
    assert list(streamed) == list(indexed)
    for key, value in indexed.items():
        np.testing.assert_array_equal(streamed[key], value)
    return indexed


@pytest.mark.parametrize("options", ["ark", "ark,t"])
@pytest.mark.parametrize("token", KIO)
def test_kaldi_native_io_both_ways(tmp_path, token, options):
    name, value = KIO[token]
    with getattr(kio, f"{name}Writer")(f"{options},scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer.write("u1", value)
        writer.write("u-2", 2 * value)
    theirs = both(tmp_path / "a")
    np.testing.assert_allclose(theirs["u1"], value, rtol=1e-5)              # in text, Kaldi writes some six digits
    np.testing.assert_allclose(theirs["u-2"], 2 * value, rtol=1e-5)
    with open_writer(f"{options},scp:{tmp_path}/b.ark,{tmp_path}/b.scp") as write:
        write("u1", value)
        write("u-2", 2 * value)
    with getattr(kio, f"Sequential{name}Reader")(f"ark:{tmp_path}/b.ark") as reader:
        read = {key: np.array(got) for key, got in reader}
    with getattr(kio, f"RandomAccess{name}Reader")(f"scp:{tmp_path}/b.scp") as reader:
        np.testing.assert_array_equal(np.array(reader["u-2"]), 2 * value)
    np.testing.assert_array_equal(read["u1"], value)


@pytest.mark.parametrize("options", ["ark", "ark,t"])
@pytest.mark.parametrize("token", PYDROBERT)
def test_pydrobert_kaldi_both_ways(tmp_path, token, options):
    kaldi = pytest.importorskip("pydrobert.kaldi.io", reason="pydrobert-kaldi is not installed")
    value, kind = KIO[token][1], PYDROBERT[token]
    with kaldi.open(f"{options},scp:{tmp_path}/a.ark,{tmp_path}/a.scp", kind, mode="w") as writer:
        writer.write("u", value)
    np.testing.assert_allclose(both(tmp_path / "a")["u"], value, rtol=1e-5)
    with open_writer(f"{options},scp:{tmp_path}/b.ark,{tmp_path}/b.scp") as write:
        write("u", value)
    with kaldi.open(f"scp:{tmp_path}/b.scp", kind) as reader:
        np.testing.assert_allclose(next(iter(reader)), value, rtol=2e-7)      # Kaldi's own reading of text rounds


@pytest.mark.parametrize("method", [method for method in COMPRESSION_METHODS if method != AUTOMATIC])
def test_compressed_matrices_of_kaldi_native_io_are_read_alike(tmp_path, method):
    with kio.CompressedMatrixWriter(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer.write("u", COMPRESSIBLE.get(method, MATRIX), kio.CompressionMethod(method))
    with kio.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/a.scp") as reader:
        theirs = np.array(reader["u"])
    np.testing.assert_allclose(both(tmp_path / "a")["u"], theirs, atol=2e-5, rtol=1e-6)
    place, reader = read_scp(tmp_path / "a.scp")["u"], ArchiveReader()
    assert reader.shape(place) == (37, 11)
    np.testing.assert_allclose(reader.matrix(place, 5, 20), theirs[5:20], atol=2e-5, rtol=1e-6)
    np.testing.assert_allclose(reader.matrix(f"{place}[3:30,2:4]", 5, 20), theirs[8:23, 2:5], atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 4, 5, 8, 9, 500])
@pytest.mark.parametrize("method", COMPRESSION_METHODS)
def test_what_is_compressed_here_is_read_alike_by_others(tmp_path, method, n_frames):
    kinds = {4: 50 * feats(n_frames), 6: np.clip(feats(n_frames), 0, 255), 7: np.clip(feats(n_frames) / 30, 0, 1)}
    value = kinds.get(method, feats(n_frames))
    value = value if method == 7 else np.rint(value) if method in (4, 6) else value
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", method) as writer:
        writer.write("u", value)
    with kio.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/a.scp") as reader:
        theirs = np.array(reader["u"])
    np.testing.assert_allclose(theirs, value, atol=STEP[method] if n_frames > 8 or method != 2 else 1.0)
    place = read_scp(tmp_path / "a.scp")["u"]
    for read in (ArchiveReader().matrix(place), kaldiio.load_mat(place)):
        np.testing.assert_allclose(read, theirs, atol=5e-3 if method == 4 else 2e-5, rtol=1e-6)   # 4 counts from -32768


def decoded(packed):
    head = parse_head(packed)
    return head.decode(np.frombuffer(packed, np.uint8)[head.n_head_bytes:])


@pytest.mark.parametrize("value", [np.full((20, 3), 7.5), np.zeros((9, 2)), np.array([[1000.0, 1000.0 + 1e-3]] * 12),
                                   np.linspace(-1e30, 1e30, 40).reshape(20, 2)])
def test_compression_of_values_that_hardly_differ_or_reach_far(value):
    packed = encode(value.astype(np.float32), AUTOMATIC)
    got = decoded(packed)
    np.testing.assert_allclose(got, value, atol=(np.ptp(value) or 1 + abs(value.max())) / 100)


def test_compression_is_as_close_as_that_of_kaldi_native_io(tmp_path):
    value = feats(800, 80)
    with kio.CompressedMatrixWriter(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer.write("u", value, kio.CompressionMethod(2))
    packed = encode(value, 2)
    off = {"theirs": both(tmp_path / "a")["u"] - value, "ours": decoded(packed) - value}
    root_mean_square = {whose: np.sqrt(np.mean(part**2)) for whose, part in off.items()}
    assert root_mean_square["ours"] <= 1.001 * root_mean_square["theirs"]


def test_a_matrix_that_is_not_finite_is_not_compressed():
    with pytest.raises(UserError, match="not all values are finite"):
        encode(np.array([[1.0, np.nan]]), AUTOMATIC)


def test_a_value_that_is_refused_leaves_the_archive_whole(tmp_path):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", AUTOMATIC) as writer:
        for value in (feats(), np.full((9, 2), np.inf), feats()):
            with contextlib.suppress(UserError):
                writer.write(f"u{np.isfinite(value).all():d}{writer._file.tell()}", value)
    assert len(both(tmp_path / "a")) == 2


def test_nothing_to_write_is_written_and_read(tmp_path):
    for value in (np.zeros((0, 4), np.float32), np.zeros((0,), np.float32)):
        with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
            writer.write("u", value)
        assert both(tmp_path / "a")["u"].shape == value.shape
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", 2) as writer:
        writer.write("u", np.zeros((0, 4), np.float32))
    assert both(tmp_path / "a")["u"].shape == (0, 4)


# ---- streams and specifiers

@pytest.fixture
def archive(tmp_path):
    """Three matrices, compressed: their stem, as for both()."""
    with ArchiveWriter(tmp_path / "m.ark", tmp_path / "m.scp", AUTOMATIC) as writer:
        for i in range(3):
            writer.write(f"u{i}", feats(seed=i))
    return tmp_path / "m"


def test_pipes_and_standard_streams(archive, tmp_path, monkeypatch):
    expected = both(archive)
    with open_writer(f"ark,t:| gzip -c > {tmp_path}/m.gz") as write:
        for key, value in read_values(f"scp:tac {archive}.scp |"):
            write(key, value)
    assert gzip.decompress((tmp_path / "m.gz").read_bytes()).startswith(b"u2  [\n")
    unzipped = dict(read_values(f"ark:gunzip -c {tmp_path}/m.gz |"))
    assert list(unzipped) == ["u2", "u1", "u0"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=(tmp_path / "m.ark").open("rb")))
    from_stdin = dict(read_values("ark:-"))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written))
    with open_writer("ark:-") as write:
        write("u1", expected["u1"])
    assert written.getvalue() == b"u1 " + encode(expected["u1"])
    for key, value in expected.items():
        np.testing.assert_array_equal(unzipped[key], value)
        np.testing.assert_array_equal(from_stdin[key], value)


def test_an_scp_may_point_into_pipes_text_and_parts(archive, tmp_path):
    with open_writer(f"ark,t,scp:{tmp_path}/t.ark,{tmp_path}/t.scp") as write:
        write("u0", feats())
    text = read_scp(tmp_path / "t.scp")["u0"]
    binary = read_scp(f"{archive}.scp")["u1"]
    (tmp_path / "one").write_bytes(encode(feats()))
    (tmp_path / "mix.scp").write_text(f"a {text}\nb {text}[1:2,0:3]\nc {binary}[4]\nd cat {tmp_path}/one |\n"
                                      f"e {tmp_path}/one\n")
    got = dict(read_values(f"scp:{tmp_path}/mix.scp"))
    np.testing.assert_array_equal(got["a"], feats())
    np.testing.assert_array_equal(got["b"], feats()[1:3, :4])
    np.testing.assert_array_equal(got["c"], both(archive)["u1"][4:5])
    np.testing.assert_array_equal(got["d"], feats())
    np.testing.assert_array_equal(got["e"], feats())
    reader = ArchiveReader()
    assert reader.shape(text) == (37, 11) and reader.shape(f"cat {tmp_path}/one |") == (37, 11)
    np.testing.assert_array_equal(reader.matrix(f"{text}[1:9]", 2, 4), feats()[3:5])


@pytest.mark.parametrize("text", [b"u [ 1 2.5 -3e2 ]\n", b"u  [ 1 2.5\t-3e2 ]\n", b"u [1 2.5 -300]"])
def test_text_vectors_in_any_spacing(tmp_path, text):
    (tmp_path / "t").write_bytes(text)
    assert dict(read_values(f"ark:{tmp_path}/t"))["u"].tolist() == [1, 2.5, -300]


@pytest.mark.parametrize(("specifier", "said"), [
    ("feats.scp", "give ark:FILE or scp:FILE"), ("ark:", "give ark:FILE"), ("ark,x:a", 'option "x" is not known'),
    ("ark,p:a", 'option "p" is not known'), ("ark,scp:a,b", "cannot be read"), ("rk:a", "give ark:FILE"),
    ("ark:nowhere", "nowhere: cannot be read"), ("ark:exit 3 |", r"the command failed \(exit 3\)"),
    ("scp:nowhere", "nowhere: cannot be read"),
])
def test_a_specifier_that_cannot_be_read_is_named(specifier, said):
    with pytest.raises(UserError, match=said):
        list(read_values(specifier))


@pytest.mark.parametrize(("specifier", "said"), [
    ("a.ark", "give ark:FILE, ark,t:FILE"), ("scp:a", "cannot be written"), ("ark,scp:a", "cannot be written"),
    ("ark,scp:-,a.scp", "an scp can only point into a file"), ("ark,scp:| cat,a.scp", "only point into a file"),
    ("ark,t:a", "text is not compressed"), ("ark,cs:a", 'option "cs" is not known'),
    ("ark:| exit 4", r"the command failed \(exit 4\)"),
])
def test_a_specifier_that_cannot_be_written_is_named(tmp_path, monkeypatch, specifier, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said), open_writer(specifier, AUTOMATIC) as write:
        write("u", feats())
    assert not list(tmp_path.iterdir())


def test_an_archive_whose_reading_fails_is_not_written(archive, tmp_path):
    os.truncate(f"{archive}.ark", 1000)
    with pytest.raises(UserError), open_writer(f"ark,scp:{tmp_path}/b.ark,{tmp_path}/b.scp") as write:
        for key, value in read_values(f"ark:{archive}.ark"):
            write(key, value)
    assert not list(tmp_path.glob("*b.*"))


# ---- damage

@pytest.mark.parametrize("n_bytes", [1, 4, 8, 20, 300])
@pytest.mark.parametrize("method", [None, 2, 3, 5])
def test_an_archive_cut_short_anywhere_is_named_with_offset_and_utterance(tmp_path, method, n_bytes):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", method) as writer:
        writer.write("u0", feats())
        writer.write("u1", feats())
    offset = int(read_scp(tmp_path / "a.scp")["u1"].rpartition(":")[2])
    os.truncate(tmp_path / "a.ark", offset + n_bytes)
    where = rf'a\.ark:{offset}: utterance "u1": the archive is cut short or damaged \(it ends \d+ bytes too early\)'
    with pytest.raises(UserError, match=where):
        list(read_values(f"ark:{tmp_path}/a.ark"))
    with pytest.raises(UserError, match=rf'utterance "u1": .*a\.ark:{offset}: the archive is cut short'):
        list(read_values(f"scp:{tmp_path}/a.scp"))
    os.truncate(tmp_path / "a.ark", offset - 2)
    with pytest.raises(UserError, match=rf"a\.ark:{offset - 3}: .*it ends within a name, b'u'"):
        list(read_values(f"ark:{tmp_path}/a.ark"))


@pytest.mark.parametrize(("content", "said"), [
    (b"u \0BXM \4\1\0\0\0\4\1\0\0\0", "b'XM' is no kind of matrix"), (b"u 17\n", "neither a binary value nor a text"),
    (b"u [ 1 2\n", "before the closing bracket"), (b"u [ 1 x ]\n", "could not convert"),
    (b"u [\n 1 2\n 3 ]\n", "same shape"), (b"u [ 1 2 ] 3\n", "follows the closing bracket"),
    (b"u \0BFM \4\xff\xff\xff\xff\4\1\0\0\0", "a header of -1 rows and 1 columns"),
    (b"u \0BFM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f", r"it ends \d{20} bytes too early"),
    (b"u \0BCM \0\0\xc0\x7f\0\0\x80\x3f\1\0\0\0\1\0\0\0", "a header of 1 rows and 1 columns"),
])
def test_a_damaged_value_is_named(tmp_path, content, said):
    (tmp_path / "a.ark").write_bytes(content)
    with pytest.raises(UserError, match=rf'a\.ark:2: utterance "u": .*{said}'):
        list(read_values(f"ark:{tmp_path}/a.ark"))


def test_of_a_name_that_is_damage_the_beginning_is_shown(tmp_path):
    (tmp_path / "a.ark").write_bytes(b"\xa5" * 9999 + b" 17\n")
    with pytest.raises(UserError, match='utterance "\ufffd{200}": '):
        list(read_values(f"ark:{tmp_path}/a.ark"))


def test_a_value_in_several_blocks_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_module, "_BLOCK", 7)
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", feats())
    np.testing.assert_array_equal(dict(read_values(f"ark:{tmp_path}/a.ark"))["u"], feats())


def test_a_line_of_an_scp_without_a_file_is_named(tmp_path):
    (tmp_path / "a.scp").write_text("u\n")
    with pytest.raises(UserError, match=r'a\.scp:1: "u" is not "key file"'):
        list(read_values(f"scp:{tmp_path}/a.scp"))


# ---- places in archives

def test_ranges_include_both_ends(tmp_path):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", feats())
    place = read_scp(tmp_path / "a.scp")["u"]
    reader = ArchiveReader()
    np.testing.assert_array_equal(reader.matrix(f"{place}[2:4]"), feats()[2:5])
    np.testing.assert_array_equal(reader.matrix(f"{place}[2:4,1:1]"), feats()[2:5, 1:2])
    assert reader.shape(f"{place}[2:4,0:9]") == (3, 10)
    assert locate("/a b/c.ark:17[3:5]")[:2] == ("/a b/c.ark", 17)
    with pytest.raises(UserError, match="its end lies before its beginning"):
        locate("x.ark:3[5:2]")


def test_a_long_compressed_recording_is_read_a_column_at_a_time(tmp_path):
    value = feats(archive_module._SMALL // 20, 30)
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", 2) as writer:
        writer.write("u", value)
    place, whole = read_scp(tmp_path / "a.scp")["u"], both(tmp_path / "a")["u"]
    reader, asked = ArchiveReader(), []
    pread = reader._pread
    reader._pread = lambda path, into, offset: asked.append(len(into)) or pread(path, into, offset)
    np.testing.assert_array_equal(reader.matrix(place, 9000, 9100), whole[9000:9100])
    assert sum(asked) < 30 * 100 + 30 * 8 + 100                                  # those frames, percentiles, a header
    np.testing.assert_array_equal(reader.matrix(f"{place}[50:99,3:9]", 10), whole[60:100, 3:10])
    os.truncate(tmp_path / "a.ark", 20_000)
    with pytest.raises(UserError, match=r"a\.ark:2: the archive is cut short or damaged \(it ends \d+ bytes too early"):
        reader.matrix(place, 9000, 9100)


def test_vectors_come_back(tmp_path):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        for i in range(3):
            writer.write(f"u{i}", feats()[i])
    table, reader = read_scp(tmp_path / "a.scp"), ArchiveReader()
    assert list(table) == ["u0", "u1", "u2"]
    np.testing.assert_array_equal([reader.vector(place) for place in table.values()], feats()[:3])
    write_vector(tmp_path / "mean.vec", feats()[0])
    np.testing.assert_array_equal(read_vector(tmp_path / "mean.vec"), feats()[0])
    with kio.RandomAccessFloatVectorReader(f"scp:{tmp_path}/a.scp") as reader:
        np.testing.assert_array_equal(reader["u1"], feats()[1])


def test_a_header_that_asks_for_more_than_there_is_takes_no_memory(tmp_path):
    (tmp_path / "a.ark").write_bytes(b"u \0BFV \4\0\0\0\x40")
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a\.ark:2: .*it ends 4294967296 bytes too early"):
        ArchiveReader().vector(f"{tmp_path}/a.ark:2")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_place_past_the_end_is_named(tmp_path):
    write_vector(tmp_path / "a.ark", feats()[0])
    with pytest.raises(UserError, match=r"a\.ark:999: the archive is cut short or damaged \(it has 54 bytes\)"):
        ArchiveReader().matrix(f"{tmp_path}/a.ark:999")


def test_a_place_past_the_end_of_any_file_is_named(tmp_path):
    (tmp_path / "a.ark").write_bytes(b"u ")
    with pytest.raises(UserError, match=f"a.ark:{10 ** 30}: no file is so long; correct its line"):
        ArchiveReader().vector(f"{tmp_path}/a.ark:{10 ** 30}")


def test_a_missing_archive_is_named():
    with pytest.raises(UserError, match="no/such.ark: no such archive"):
        ArchiveReader().matrix("no/such.ark:3")


def test_a_vector_where_a_matrix_belongs_is_named(tmp_path):
    write_vector(tmp_path / "v", feats()[0])
    with pytest.raises(UserError, match="not a matrix"):
        ArchiveReader().matrix(str(tmp_path / "v"))


def test_nothing_is_left_of_an_archive_whose_writer_failed(tmp_path):
    with pytest.raises(RuntimeError), ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
        writer.write("u", feats())
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_few_archives_are_open_at_a_time(tmp_path):
    places = []
    for i in range(6):
        with ArchiveWriter(tmp_path / f"{i}.ark", tmp_path / "a.scp") as writer:
            writer.write("u", feats(seed=i))
        places.append(read_scp(tmp_path / "a.scp")["u"])
    reader = ArchiveReader(max_open=2)
    for i in (0, 1, 2, 3, 4, 5, 0, 5):
        np.testing.assert_array_equal(reader.matrix(places[i]), feats(seed=i))
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        assert len([link for link in links if tmp_path in link.readlink().parents]) == min(2, len(reader._files))


@pytest.mark.parametrize(("place", "said"), [
    ("[200:300]", "there are 120 rows, from 0 to 119"), ("[0:500]", "there are 120 rows"), ("[120]", "there are 120"),
    ("[a:b]", r"not a range; \[FIRST:LAST\]"), ("[-1:5]", "not a range")])
@pytest.mark.parametrize("text", [False, True])
def test_a_range_that_is_none_or_lies_past_the_end_is_an_error(tmp_path, place, said, text):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", text=text) as writer:
        writer.write("u", np.arange(240.0).reshape(120, 2))
    at = read_scp(tmp_path / "a.scp")["u"]
    with pytest.raises(UserError, match=said):
        ArchiveReader().matrix(at + place)
    assert len(ArchiveReader().matrix(f"{at}[100:121]")) == 20      # a rounded end may lie a few rows too far


def test_a_disk_that_is_full_leaves_no_archive_and_is_named(tmp_path, monkeypatch):
    writer = ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp")
    with pytest.raises(OSError, match=r"No space left.*a\.ark"), writer:
        writer.write("u", np.zeros((2, 2), np.float32))
        writer._file.close()
        monkeypatch.setattr(writer, "_file", open("/dev/full", "wb"))      # noqa: SIM115, PTH123  (__exit__ closes it)
        writer._file.write(b"x")
    assert list(tmp_path.iterdir()) == []
