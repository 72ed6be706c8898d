"""Fixing a data directory: what it becomes, what is kept of what it was, and what a kill leaves."""


import pytest
from conftest import ROOT, kill_before_write, write_files
from test_datadir import GOOD, SEGMENTED

from pyspk.datadir.fix import fix
from pyspk.errors import UserError


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


TANGLED = {
    "utt2spk": "b-1 b\na-1 a\na-2 a\na-1 a\nc-1 c\n\nd-1 d\ne-1",
    "wav.scp": "r1 x.wav\r\nr2 sox  y - |\r\nr9 unused\r\n",
    "segments": "a-1 r1 0 1\na-2\tr1 1  2\nb-1 r2 0 1\nc-1 r7 0 1\nd-1 r2 0 1\n",
    "text": "\ufeffa-1 one  two\na-2\nb-1 x\nc-1 y\nd-1 w\nz-1 z\n", "spk2gender": "a f\nb m\nc m\n",
    "utt2num_frames": "a-1 5\na-2 7\nb-1 none\nc-1 4\nd-1 1\n", "spk2utt": "nonsense\n", "notes": "kept\n"}
MENDED = {
    "utt2spk": "a-1 a\na-2 a\n", "wav.scp": "r1 x.wav\n", "segments": "a-1 r1 0 1\na-2 r1 1  2\n",
    "text": "a-1 one  two\na-2\n", "spk2gender": "a f\n",
    "utt2num_frames": "a-1 5\na-2 7\n", "spk2utt": "a a-1 a-2\n", "notes": "kept\n"}


def test_fix_keeps_what_all_tables_have_and_names_the_rest(tmp_path):
    fixed = fix(write_files(tmp_path, TANGLED))
    assert contents(tmp_path) == MENDED
    assert (fixed.n_utts, set(fixed.changed)) == (2, set(MENDED) - {"notes"})
    backup = {path.name: path.read_bytes().decode() for path in (tmp_path / ".backup").iterdir()}
    assert backup == {name: text for name, text in TANGLED.items() if name != "notes"}
    notes = "\n".join(fixed.left_out).replace(f"{tmp_path}/", "")
    for note in ('utt2spk:8: "e-1" has no value', 'segments:4: recording "r7" is not in wav.scp',
                 "segments: no good line for 1 utterance (c-1); left out",
                 'utt2num_frames:3: "b-1" has "none"', "utt2num_frames: no good line for 1 utterance (b-1); left out",
                 "spk2gender: no good line for 1 utterance (d-1); left out",
                 "wav.scp: left out the lines of 2 recordings (r2, r9)",
                 "spk2gender: left out the lines of 2 speakers (b, c)",
                 "text: left out the lines of 4 utterances (b-1, c-1, d-1, z-1)"):
        assert note in notes, notes


def test_fix_twice_changes_nothing_and_a_good_directory_stays_as_it_is(tmp_path):
    fix(write_files(tmp_path / "tangled", TANGLED))
    write_files(tmp_path / "good", GOOD)
    write_files(tmp_path / "segmented", SEGMENTED)
    for folder in tmp_path.iterdir():
        times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        fixed = fix(folder)
        assert (fixed.changed, fixed.left_out) == ([], [])
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_fix_again_keeps_the_earlier_backup(tmp_path):
    fix(write_files(tmp_path, {"utt2spk": "b x\na x\n"}))
    fix(write_files(tmp_path, {"utt2spk": "c x\na x\n"}))
    fix(write_files(tmp_path, {"utt2spk": "b x\na x\n"}))
    assert {path.name: path.read_text() for path in (tmp_path / ".backup").iterdir() if "spk2utt" not in path.name} == {
        "utt2spk": "b x\na x\n", "utt2spk.1": "c x\na x\n"}


@pytest.mark.parametrize(("changed", "said"), [
    ({"feats.scp": "a-1 f:1\na-1 f:2\n"}, 'feats.scp:2: "a-1" comes twice, first on line 1 with another value; '
                                          "keep one of them; a person must decide this: nothing was changed"),
    ({"text": b"a-1 \xe9\na-2 \xe9\n"}, "text:1: not UTF-8 text; .*iconv.*; and 1 more such lines; a person must "),
    ({"feats.scp": "z-1 f:1\n"}, "feats.scp: with it no utterance is in all tables; .*nothing was changed. .*"
                                 r"feats.scp: no good line for 3 utterances \(a-1, a-2, b-1\); left out"),
])
def test_fix_changes_nothing_where_a_person_must_decide(tmp_path, changed, said):
    files = {"utt2spk": "b-1 b\na-1 a\na-2 a\n", **changed}
    with pytest.raises(UserError, match=said):
        fix(write_files(tmp_path, files))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()}


@pytest.mark.parametrize("n_writes", [0, 1, 4, 9, 13])
def test_a_fix_that_is_killed_loses_nothing_and_the_next_one_ends_as_if_it_had_not_been(tmp_path, n_writes):
    write_files(tmp_path, TANGLED)
    kill_before_write(n_writes, [ROOT / "steps" / "fix_data_dir.py", tmp_path])      # of copies and of tables
    for name, text in TANGLED.items():
        places = [place for place in (tmp_path / name, tmp_path / ".backup" / name) if place.exists()]
        assert text.encode() in [place.read_bytes() for place in places]
    fix(tmp_path)
    assert contents(tmp_path) == MENDED
    assert {path.name for path in (tmp_path / ".backup").iterdir()} == set(TANGLED) - {"notes"}
