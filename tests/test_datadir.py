"""Data directories: what is read, and what each fault says."""

import pytest
from conftest import write_files

from pyspk.datadir import DataDir
from pyspk.datadir.validate import check
from pyspk.errors import UserError


def make(folder, **files):
    for name, text in {"utt2spk": "a-1 a\na-2 a\nb-1 b\n", **files}.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def lines(keys, value):
    return "".join(f"{key} {value}\n" for key in keys)


def test_speakers_and_tables(tmp_path):
    data = DataDir(make(tmp_path / "", feats__scp="a-1 f.ark:3\na-2 f.ark:9\nb-1 f.ark:20\n"))
    assert data.spk2utt == {"a": ["a-1", "a-2"], "b": ["b-1"]}
    assert data.table("feats.scp")["a-2"] == "f.ark:9"
    assert data.has("feats.scp") and not data.has("vad.scp")


def test_recordings_and_segments(tmp_path):
    make(tmp_path, wav__scp="r1 /x/1.flac\nr2 sox y - |\n", segments="a-1 r1 0 1.5\na-2 r1 1.5 3\nb-1 r2 0.25 2\n")
    assert DataDir(tmp_path).utterances() == {
        "a-1": ("/x/1.flac", 0.0, 1.5), "a-2": ("/x/1.flac", 1.5, 3.0), "b-1": ("sox y - |", 0.25, 2.0)}
    (tmp_path / "segments").unlink()
    make(tmp_path, wav__scp="a-1 1.wav\na-2 2.wav\nb-1 3.wav\n")
    assert DataDir(tmp_path).utterances()["a-2"] == ("2.wav", None, None)


@pytest.mark.parametrize(("segments", "said"), [
    ("a-1 r1 0\n", ":1: .*is not \"utterance recording start end\""), ("a-1 r1 0 x\n", "is not"),
    ("a-1 r1 0 inf\n", "is not"), ("a-1 r1 nan 1\n", "is not"),
    ("a-1 r9 0 1\n", 'recording "r9" is not in'), ("a-1 r1 2 2\n", "has no length"), ("a-1 r1 -1 2\n", "has no length"),
])
def test_a_malformed_segment_is_named(tmp_path, segments, said):
    make(tmp_path, utt2spk="a-1 a\n", wav__scp="r1 x.wav\n", segments=segments)
    with pytest.raises(UserError, match=said):
        DataDir(tmp_path).utterances()


def test_a_table_with_other_utterances_is_refused_with_counts(tmp_path):
    make(tmp_path, feats__scp="a-1 f.ark:3\nz-1 f.ark:9\n")
    said = r"2 utterances of utt2spk are missing \(a-2, b-1\) and 1 are not in utt2spk \(z-1\)"
    with pytest.raises(UserError, match=said):
        DataDir(tmp_path).table("feats.scp")


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7])
def test_the_shares_of_the_jobs_are_the_directory_cut_into_runs_of_lines(tmp_path, n_parts):
    utts = [f"u{i}" for i in range(7)]
    write_files(tmp_path, {"utt2spk": lines(utts, "s"), "feats.scp": lines(utts, "a.ark:9"),
                           "wav.scp": lines(utts, "x.wav")})
    whole = DataDir(tmp_path)
    parts = [DataDir(tmp_path, share=(part, n_parts)) for part in range(1, n_parts + 1)]
    assert [utt for part in parts for utt in part.utt2spk] == utts
    assert max(len(part.utt2spk) for part in parts) - min(len(part.utt2spk) for part in parts) <= 1
    for part in parts:
        assert part.table("feats.scp") == {utt: whole.table("feats.scp")[utt] for utt in part.utt2spk}
        assert part.utterances() == {utt: whole.utterances()[utt] for utt in part.utt2spk}


def test_a_share_of_segments_has_all_recordings(tmp_path):
    write_files(tmp_path, {"utt2spk": lines("abc", "s"), "wav.scp": "x x.wav\ny y.wav\nz z.wav\n",
                           "segments": "a z 0 1\nb y 0 1\nc x 0 1\n"})
    assert DataDir(tmp_path, share=(3, 3)).utterances() == {"c": ("x.wav", 0, 1)}


def test_a_share_says_what_is_wrong_as_the_whole_does(tmp_path):
    utts = [f"u{i}" for i in range(6)]
    write_files(tmp_path, {"utt2spk": lines(utts, "s"), "feats.scp": lines(utts[:1] + utts[2:], "a.ark:9"),
                           "vad.scp": lines(utts, "v.ark:9").replace("u4 v.ark:9", "u4"),
                           "utt2dur": lines([*utts[:4], "u4", "u4"], "1"),
                           "wav.scp": lines(utts, "x.wav").replace("u5 x.wav", "u5 touch y |")})
    share = DataDir(tmp_path, no_pipes=True, share=(2, 2))
    with pytest.raises(UserError, match=r"feats.scp: 1 utterances of utt2spk are missing \(u1\)"):
        share.table("feats.scp")
    with pytest.raises(UserError, match=r'vad.scp:5: "u4" has no value'):
        share.table("vad.scp")
    with pytest.raises(UserError, match=r'utt2dur:6: "u4" comes twice, first on line 5'):
        share.table("utt2dur")
    with pytest.raises(UserError, match=r'wav.scp:6: "u5" is a command'):
        share.table("wav.scp")


def test_missing_empty_and_malformed_directories(tmp_path):
    with pytest.raises(UserError, match="no such data directory"):
        DataDir(tmp_path / "nowhere")
    with pytest.raises(UserError, match="utt2spk: no such file"):
        DataDir(tmp_path)
    with pytest.raises(UserError, match="utt2spk: empty"):
        DataDir(make(tmp_path, utt2spk=""))
    with pytest.raises(UserError, match="utt2spk:1: .*more than two columns"):
        DataDir(make(tmp_path, utt2spk="a-1 a b\n"))


def test_a_stage_gives_the_first_fault_their_number_and_the_commands(tmp_path):
    make(tmp_path, utt2spk="a-1 a\na-2\na-3 a\n\n")
    said = (r'utt2spk:2: "a-2" has no value; a line is "key value"; correct it '
            rf"\(fix_data_dir.py {tmp_path} leaves it out\); and 1 more, listed by: "
            rf"validate_data_dir.py --no-wav --no-text --no-feats {tmp_path}$")
    with pytest.raises(UserError, match=said):
        DataDir(tmp_path)
    make(tmp_path, utt2num_frames="a-1 100\na-2 0\nb-1 9\n", feats__scp="a-1 f:1\n")
    with pytest.raises(UserError, match=r'utt2num_frames:2: "a-2" has "0", which is not a number of frames above 0'):
        DataDir(tmp_path).table("utt2num_frames")
    with pytest.raises(UserError, match=f"fix_data_dir.py {tmp_path} keeps what all tables have"):
        DataDir(tmp_path).table("feats.scp")


# ---- validate

GOOD = {"utt2spk": "a-1 a\na-2 a\nb-1 b\n", "spk2utt": "a a-1 a-2\nb b-1\n",
        "wav.scp": "a-1 x.wav\na-2 sox y - |\nb-1 z\n",
        "feats.scp": "a-1 f.ark:3\na-2 f.ark:9\nb-1 f.ark:20\n", "vad.scp": "a-1 v.ark:3\na-2 v.ark:9\nb-1 v.ark:20\n",
        "text": "a-1 one two\na-2\nb-1 three\n", "utt2num_frames": "a-1 10\na-2 20\nb-1 5\n",
        "utt2dur": "a-1 0.1\na-2 0.2\nb-1 0.05\n", "spk2gender": "a f\nb m\n", "cmvn.scp": "a c.ark:3\nb c.ark:9\n",
        "reco2dur": "a-1 0.1\na-2 0.2\nb-1 0.05\n", "frame_shift": "0.01\n"}
SEGMENTED = {**GOOD, "wav.scp": "r1 x.wav\nr2 y.wav\n", "segments": "a-1 r1 0 1.5\na-2 r1 1.5 3\nb-1 r2 0.25 2\n",
             "reco2dur": "r1 2.6\nr2 2.0\n"}


def faults(folder, files, **options):
    """The fault lines of a directory with these files, without its path."""
    found = check(write_files(folder, files), **options)
    return [line.replace(f"{folder}/", "").replace(f" {folder} ", " DIR ") for of in found for line in of.lines()]


@pytest.mark.parametrize("files", [GOOD, SEGMENTED], ids=["whole", "segmented"])
def test_a_good_directory_has_no_faults_whatever_lies_beside_its_tables(tmp_path, files):
    (tmp_path / "conf").mkdir()
    (tmp_path / "split4" / "1").mkdir(parents=True)
    write_files(tmp_path, {"notes.txt": "b\na\n", "feats_type": "raw"})
    assert faults(tmp_path, files) == []
    assert faults(tmp_path, {"wav.scp": files["wav.scp"].replace(" ", "\t", 1).replace("b-1 ", "b-1   ")}) == []


NOT_UTF8 = "not UTF-8 text; is it a binary file? if not, convert it from what it is in: iconv -f LATIN1 -t UTF-8"
DOES, LEAVES = "(fix_data_dir.py DIR does)", "(fix_data_dir.py DIR leaves it out)"


@pytest.mark.parametrize(("name", "text", "said"), [
    ("feats.scp", "a-1 f:1\na-2\nb-1 f:2\n", [f':2: "a-2" has no value; a line is "key value"; correct it {LEAVES}']),
    ("feats.scp", "\ufeffa-1 f:1\na-2 f:1\nb-1 f:2\n", [
        ":1: a byte-order mark stands before the first name; save it as UTF-8 without one, or mend it with: "
        rf"sed -i '1s/^\xEF\xBB\xBF//' feats.scp {DOES}"]),
    ("feats.scp", "a-1 f:1\n\na-2 f:1\nb-1 f:2\n", [f":2: an empty line; remove it {DOES}"]),
    ("feats.scp", "a-1 f:1\na-2 f:1\nb-1 f:2", [
        f":3: the last line has no newline, so the file may be cut short; make it again, or add the newline {DOES}"]),
    ("vad.scp", "a-1 f:1\r\na-2 f:1\r\nb-1 f:2\n", [
        rf":1: Windows line ends (CR LF), 2 of them; mend it with: sed -i 's/\r$//' vad.scp {DOES}"]),
    ("vad.scp", "a-2 f:1\na-1 f:1\nb-1 f:2\n", [
        f':2: not sorted: "a-1" comes after "a-2"; mend it with: LC_ALL=C sort -o vad.scp vad.scp {DOES}']),
    ("text", "a-1 x\na-2 y\na-2 y\nb-1 z\n", [f':3: "a-2" comes twice, first on line 2; keep one of them {DOES}']),
    ("text", "a-1 x\na-2 y\na-2 z\nb-1 z\n", [
        ':3: "a-2" comes twice, first on line 2 with another value; keep one of them']),
    ("text", b"a-1 x\na-2 \xe9\nb-1 z\n", [f":2: {NOT_UTF8}"]),
    ("text", b"a-1 x\na-2 y\nb-1 z\nc\xe9 w\n", [
        f":4: {NOT_UTF8}",
        f':4: utterance "c\\xe9" is not in utt2spk; remove the line {DOES}']),
    ("feats.scp", "a-1 f:1\nb-1 f:2\nz-1 f:3\n", [
        f':3: utterance "z-1" is not in utt2spk; remove the line {DOES}',
        f': no line for utterance "a-2" of utt2spk; add it {LEAVES}']),
    ("wav.scp", "a-1 f\na-2 f\n", [f': no line for recording "b-1" of utt2spk; add it {LEAVES}']),
    ("utt2num_frames", "a-1 1.5\na-2 0\nb-1 -3\n", [
        f':{n}: "{utt}" has "{value}", which is not a number of frames above 0; correct it {LEAVES}'
        for n, utt, value in ((1, "a-1", "1.5"), (2, "a-2", "0"), (3, "b-1", "-3"))]),
    ("utt2dur", "a-1 x\na-2 inf\nb-1 nan\n", [
        f':{n}: "{utt}" has "{value}", which is not a number of seconds above 0; correct it {LEAVES}'
        for n, utt, value in ((1, "a-1", "x"), (2, "a-2", "inf"), (3, "b-1", "nan"))]),
    ("spk2gender", "a F\nc m\n", [
        f':1: "a" has "F", which is not m or f; correct it {LEAVES}',
        f':2: speaker "c" is not in utt2spk; remove the line {DOES}',
        f': no line for speaker "b" of utt2spk; add it {LEAVES}']),
    ("spk2utt", "a a-1 a-3\nb b-1 a-2 b-1\n", [
        f':1: speaker "a" has utterance "a-3", which utt2spk does not have; make it from utt2spk {DOES}',
        f':1: speaker "a" lacks utterance "a-2" of utt2spk; make it from utt2spk {DOES}',
        f':2: speaker "b" has utterance "a-2", which utt2spk has with speaker "a"; make it from utt2spk {DOES}',
        f':2: speaker "b" has an utterance twice; make it from utt2spk {DOES}']),
    ("frame_shift", "ten\n", [
        ": not a number of seconds above 0; write the seconds from frame to frame, such as 0.01"]),
])
def test_each_fault_has_its_line_and_its_mend(tmp_path, name, text, said):
    assert faults(tmp_path, {**GOOD, name: text}) == [f"{name}{line}" for line in said]


@pytest.mark.parametrize(("text", "said"), [
    ("a-1 a\na-2 a b\nb-1 b\n", f'utt2spk:2: "a-2 a b" has more than two columns; correct it {LEAVES}'),
    ("a-1 b\na-2 a\nb-1 b\n",
     'utt2spk:2: sorted by utterance, but not by speaker: "a" comes after "b"; begin each utterance with its speaker, '
     "as in SPEAKER-UTTERANCE, or, if no program of Kaldi that goes by speaker will read it, allow that with "
     "--no-spk-sort"),
    ("", "utt2spk: empty; make it again"),
])
def test_faults_of_utt2spk(tmp_path, text, said):
    assert faults(tmp_path, {"utt2spk": text, "text": text}, absent=["--no-feats", "--no-wav"])[0] == said


def test_speakers_in_any_order_can_be_allowed(tmp_path):
    files = {"utt2spk": "1 b\n2 a\n"}
    assert faults(tmp_path, files, absent=["--no-feats", "--no-wav", "--no-text"], spk_sorted=False) == []


def test_tables_that_must_be_there_or_be_allowed_to_be_absent(tmp_path):
    assert faults(tmp_path, {"utt2spk": GOOD["utt2spk"]}, absent=["--no-feats"]) == [
        "wav.scp: no such file; make it, or allow that with --no-wav",
        "text: no such file; make it, or allow that with --no-text"]


@pytest.mark.parametrize(("changed", "said"), [
    ({"segments": "a-1 r1 0 1.5\na-2 r1 2.5 2.5\nb-1 r9 0 1\n"}, [
        f"segments:2: a segment from 2.5 to 2.5 s has no length; correct it {LEAVES}",
        f'segments:3: recording "r9" is not in wav.scp; add it there {LEAVES}',
        f'wav.scp:2: recording "r2" is not in segments; remove the line {DOES}',
        f'reco2dur:2: recording "r2" is not in segments; remove the line {DOES}']),
    ({"segments": "a-1 r1 0\na-2 r1 1 x\nb-1 r2 0 1\n"}, [
        f'segments:1: "a-1 r1 0" is not "utterance recording start end"; correct it {LEAVES}',
        f'segments:2: "a-2 r1 1 x" is not "utterance recording start end"; correct it {LEAVES}',
        f'wav.scp:1: recording "r1" is not in segments; remove the line {DOES}',
        f'reco2dur:1: recording "r1" is not in segments; remove the line {DOES}']),
    ({"reco2dur": "r1 2.4\nr2 2\n"}, [      # 3 s in a recording of 2.4: more than Kaldi's half second over
        f'segments:2: "a-2" ends at 3.0 s, but reco2dur says that "r1" has 2.4 s; correct one of them {LEAVES}']),
    ({"reco2dur": "r1 2.6\n"}, [f'reco2dur: no line for recording "r2" of segments; add it {LEAVES}']),
])
def test_recordings_are_those_of_segments(tmp_path, changed, said):
    assert faults(tmp_path, {**SEGMENTED, **changed}) == said
