"""Text tables, archives and records: against kaldiio and kaldi-native-io, and with damaged files."""

import json
import os
import signal
import subprocess
import sys

import kaldi_native_io as kio
import kaldiio
import numpy as np
import pytest
from conftest import environment

from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, locate, read_scp, read_vector, write_vector
from pyspk.tables.atomic import atomic_write
from pyspk.tables.records import State, begin, fingerprint
from pyspk.tables.text import read_table, write_table


@pytest.mark.parametrize(("text", "said"), [
    ("a 1\nb 2", "no newline"), ("a 1\n\nb 2\n", ":2: an empty line"), ("a 1\nb\n", ':2: "b" has no value'),
    ("a 1\na 2\n", ':2: "a" comes twice'), ("b 1\na 2\n", 'not sorted: "a" comes after "b".*LC_ALL=C sort'),
])
def test_a_malformed_table_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "t").write_text(text)
    with pytest.raises(UserError, match=said):
        read_table(tmp_path / "t")


def test_missing_and_binary_tables_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "t")
    (tmp_path / "t").write_bytes(b"a \xff\xfe\n")
    with pytest.raises(UserError, match="not UTF-8"):
        read_table(tmp_path / "t")


def test_tables_are_written_sorted_and_read_back(tmp_path):
    write_table(tmp_path / "t", {"b": 2, "a-1": "x y", "B": 0.5})
    assert (tmp_path / "t").read_text() == "B 0.5\na-1 x y\nb 2\n"
    assert read_table(tmp_path / "t") == {"B": "0.5", "a-1": "x y", "b": "2"}


def test_tabs_separate_too(tmp_path):
    (tmp_path / "t").write_text("a\tx y\nb  z\n")
    assert read_table(tmp_path / "t") == {"a": "x y", "b": "z"}


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    (tmp_path / "t").write_text("old\n")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "t") as file:
        file.write("new")
        raise RuntimeError
    assert (tmp_path / "t").read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "t"]


def test_a_killed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "t").write_text("old\n")
    code = ("import os, signal, sys; from pyspk.tables.atomic import atomic_write\n"
            "with atomic_write(sys.argv[1]) as f:\n f.write('new'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)")
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "t").read_text() == "old\n"


def feats(n_frames=37, dim=11, seed=0):
    return (np.random.default_rng(seed).normal(10, 4, (n_frames, dim))).astype(np.float32)


@pytest.mark.parametrize("method", list(range(2, 8)))
def test_compressed_matrices_of_kaldi_native_io_read_alike(tmp_path, method):
    value = {5: np.clip(feats(), 0, 255), 6: np.round(np.clip(feats(), 0, 255)), 7: np.clip(feats() / 30, 0, 1)}.get(
        method, feats())
    with kio.CompressedMatrixWriter(f"ark,scp:{tmp_path}/a.ark,{tmp_path}/a.scp") as writer:
        writer.write("u", value, kio.CompressionMethod(method))
    place = read_scp(tmp_path / "a.scp")["u"]
    with kio.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/a.scp") as reader:
        theirs = np.array(reader["u"])
    got = ArchiveReader()
    assert got.shape(place) == (37, 11)
    np.testing.assert_allclose(got.matrix(place), theirs, atol=2e-5)
    np.testing.assert_allclose(got.matrix(place, 5, 20), theirs[5:20], atol=2e-5)


def test_float_and_double_matrices_of_kaldi_native_io_read_alike(tmp_path):
    with kio.FloatMatrixWriter(f"ark,scp:{tmp_path}/f.ark,{tmp_path}/f.scp") as writer:
        writer.write("u", feats())
    with kio.DoubleMatrixWriter(f"ark,scp:{tmp_path}/d.ark,{tmp_path}/d.scp") as writer:
        writer.write("u", feats().astype(np.float64))
    with kio.FloatMatrixWriter(f"ark,t,scp:{tmp_path}/t.ark,{tmp_path}/t.scp") as writer:
        writer.write("u", feats())
    for kind in "fdt":
        place = read_scp(tmp_path / f"{kind}.scp")["u"]
        np.testing.assert_allclose(ArchiveReader().matrix(place, 3, 9), feats()[3:9], rtol=1e-5)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("n_frames", [1, 3, 8, 9, 500])
def test_kaldi_native_io_and_kaldiio_read_what_we_write(tmp_path, compress, n_frames):
    value = feats(n_frames)
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", compress) as writer:
        writer.write("u1", value)
        writer.write("u2", value[:, :3])
    with kio.RandomAccessFloatMatrixReader(f"scp:{tmp_path}/a.scp") as reader:
        theirs = np.array(reader["u1"])
    np.testing.assert_allclose(theirs, value, atol=0.2 if compress else 0)      # one byte a value, over 4 sigma
    place = read_scp(tmp_path / "a.scp")["u1"]
    np.testing.assert_allclose(ArchiveReader().matrix(place), theirs, atol=2e-5)
    np.testing.assert_allclose(kaldiio.load_mat(place), theirs, atol=2e-5)


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


@pytest.mark.parametrize("compress", [False, True])
def test_a_cut_archive_is_named_with_its_offset(tmp_path, compress):
    with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp", compress) as writer:
        writer.write("u", feats())
    os.truncate(tmp_path / "a.ark", 60)
    place = read_scp(tmp_path / "a.scp")["u"]
    with pytest.raises(UserError, match=r"a\.ark:2.*cut short"):
        ArchiveReader().matrix(place)


def test_a_place_past_the_end_is_named(tmp_path):
    write_vector(tmp_path / "a.ark", feats()[0])
    with pytest.raises(UserError, match=r"a\.ark:999: the archive is cut short or damaged \(it has 54 bytes\)"):
        ArchiveReader().matrix(f"{tmp_path}/a.ark:999")


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
        mapped = [line for line in open("/proc/self/maps") if str(tmp_path) in line]      # noqa: SIM115, PTH123
        assert len(mapped) <= 2


def test_records_tell_current_begun_and_changed(tmp_path):
    out, source = tmp_path / "out", tmp_path / "in"
    source.write_text("1")
    assert begin(out, {"bins": 40}, {"in": source}) is State.NEW
    assert begin(out, {"bins": 40}, {"in": source}) is State.BEGUN
    out.write_text("made")
    assert begin(out, {"bins": 40}, {"in": source}) is State.CURRENT
    with pytest.raises(UserError, match="bins was 40, is 80"):
        begin(out, {"bins": 80}, {"in": source})
    source.write_text("22")
    with pytest.raises(UserError, match="its input in has changed"):
        begin(out, {"bins": 40}, {"in": source})
    assert out.read_text() == "made"
    assert begin(out, {"bins": 40}, {"in": source}, overwrite=True) is State.NEW
    assert not out.exists()


def test_records_guard_parts_and_files_made_elsewhere(tmp_path):
    part = tmp_path / "last.pt"
    begin(tmp_path / "final.pt", {"lr": 1}, {})
    part.write_text("days of work")
    with pytest.raises(UserError, match=r"last\.pt exists, but lr was 1, is 2"):
        begin(tmp_path / "final.pt", {"lr": 2}, {}, parts=[part])
    assert part.exists()
    (tmp_path / "feats.scp").write_text("made by Kaldi")
    with pytest.raises(UserError, match="not made by this step"):
        begin(tmp_path / "feats.scp", {}, {})


def test_scraps_go_before_the_record_changes_and_stay_for_going_on(tmp_path):
    out, shard = tmp_path / "feats.scp", tmp_path / "feats.1.ark"
    begin(out, {"bins": 40}, {})
    shard.write_text("of 40 bins")
    assert begin(out, {"bins": 40}, {}, scraps=[shard]) is State.BEGUN and shard.exists()
    assert begin(out, {"bins": 80}, {}, scraps=[shard]) is State.NEW and not shard.exists()


def test_an_output_that_another_process_makes_is_left_to_it(tmp_path):
    code = ("import sys, time; from pyspk.tables.records import begin\n"
            "begin(sys.argv[1], {}, {}); print('begun', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], env=environment(), text=True,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(UserError, match="another run is making .*out at this moment"):
            begin(tmp_path / "out", {}, {})
        other.kill()
    assert begin(tmp_path / "out", {}, {}) is State.BEGUN               # the dead hold nothing


def test_a_damaged_record_is_named(tmp_path):
    begin(tmp_path / "out", {}, {})
    (tmp_path / ".made" / "out.json").write_text("")
    with pytest.raises(UserError, match=r"out\.json: damaged; remove it"):
        begin(tmp_path / "out", {}, {})


def test_an_archive_written_anew_under_the_same_scp_counts_as_changed(tmp_path):
    for seed in (0, 1):
        with ArchiveWriter(tmp_path / "a.ark", tmp_path / "a.scp") as writer:
            writer.write("u", feats(seed=seed))
        if seed == 0:
            before = fingerprint(tmp_path / "a.scp")
            assert fingerprint(tmp_path / "a.scp") == before
    assert fingerprint(tmp_path / "a.scp") != before


def test_an_input_remade_with_other_settings_counts_as_changed(tmp_path):
    feats_scp, out = tmp_path / "feats.scp", tmp_path / "xvector.scp"
    begin(feats_scp, {"bins": 40}, {})
    feats_scp.write_text("u a.ark:2\n")
    begin(out, {}, {"feats.scp": feats_scp})
    out.write_text("made")
    begin(feats_scp, {"bins": 80}, {}, overwrite=True)
    feats_scp.write_text("u a.ark:2\n")                                # the same text, other features
    with pytest.raises(UserError, match=r"feats\.scp has changed"):
        begin(out, {}, {"feats.scp": feats_scp})
    assert json.loads((tmp_path / ".made" / "feats.scp.json").read_text())["settings"] == {"bins": 80}
