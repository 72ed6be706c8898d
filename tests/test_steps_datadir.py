"""The steps over data directories, each run as a user runs it, with results written out by hand."""

import shutil

import pytest
from conftest import ROOT, kill_before_write, write_files
from test_datadir import GOOD, SEGMENTED

from pyspk.datadir.split import by_speaker, by_utterance
from pyspk.errors import UserError


def tables(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def good(tmp_path):
    return write_files(tmp_path / "good", GOOD)


@pytest.fixture
def segmented(tmp_path):
    return write_files(tmp_path / "segmented", SEGMENTED)


# ---- validate, fix

def test_validate_says_that_all_is_well(step, good):
    assert step("validate_data_dir.py", good).splitlines() == [
        f"validate_data_dir.py: validate_data_dir.py {good}", f"validate_data_dir.py: {good} is valid"]


def test_validate_lists_ten_faults_of_each_file_and_counts_the_rest(step, tmp_path):
    utts = [f"a-{number:02}" for number in range(12)]
    write_files(tmp_path, {"utt2spk": "".join(f"{utt} a\n" for utt in utts), "spk2gender": "a x\n",
                           "utt2dur": "".join(f"{utt} 0\n" for utt in utts)})
    said = step("validate_data_dir.py", "--no-feats", "--no-text", "--no-wav", tmp_path, code=1).splitlines()
    assert [line for line in said if line.startswith(str(tmp_path))] == [
        *(f'{tmp_path}/utt2dur:{number}: "{utt}" has "0", which is not a number of seconds above 0; correct it '
          f"(fix_data_dir.py {tmp_path} leaves it out)" for number, utt in enumerate(utts[:10], start=1)),
        f"{tmp_path}/utt2dur: 2 more faults like these",
        f'{tmp_path}/spk2gender:1: "a" has "x", which is not m or f; correct it '
        f"(fix_data_dir.py {tmp_path} leaves it out)"]
    assert said[-1] == f"validate_data_dir.py: error: {tmp_path} is not valid: faults in utt2dur (12), spk2gender (1)"


def test_validate_and_fix_of_what_is_no_data_directory(step, tmp_path):
    for name in ("validate_data_dir.py", "fix_data_dir.py"):
        assert f"error: {tmp_path}/nowhere: no such data directory" in step(name, tmp_path / "nowhere", code=1)
        assert f"error: {tmp_path}/utt2spk: no such file; it has a line" in step(name, tmp_path, code=1)


def test_fix_mends_what_validate_found(step, good):
    (good / "feats.scp").write_text("b-1 f.ark:20\na-1 f.ark:3\nz-1 f.ark:9\n")
    assert "feats.scp (3)" in step("validate_data_dir.py", good, code=1)
    said = step("fix_data_dir.py", good)
    for note in (f"{good}/feats.scp: no good line for 1 utterance (a-2); left out",
                 f"{good}/feats.scp: left out the lines of 1 utterance (z-1)",
                 f"wrote 9 of the tables of 2 utterances to {good}"):
        assert note in said
    assert (good / "feats.scp").read_text() == "a-1 f.ark:3\nb-1 f.ark:20\n"
    step("validate_data_dir.py", good)
    assert f"wrote 0 of the tables of 2 utterances to {good}" in step("fix_data_dir.py", good)


def test_fix_says_what_it_cannot_mend(step, tmp_path):
    write_files(tmp_path, {"utt2spk": "2 a\n1 b\n"})
    assert "utt2spk:2: sorted by utterance, but not by speaker" in step("fix_data_dir.py", tmp_path, code=1)
    assert (tmp_path / "utt2spk").read_text() == "1 b\n2 a\n"


# ---- subset

TEN = {"utt2spk": "a-1 a\na-2 a\na-3 a\na-4 a\nb-1 b\nc-1 c\nc-2 c\nc-3 c\nd-1 d\nd-2 d\n",
       "utt2num_frames": "a-1 9\na-2 8\na-3 7\na-4 6\nb-1 5\nc-1 4\nc-2 3\nc-3 9\nd-1 9\nd-2 4\n"}


@pytest.mark.parametrize(("options", "utts"), [
    ([], "a-1 a-3 b-1 c-2 d-1"), (["--first"], "a-1 a-2 a-3 a-4 b-1"), (["--last"], "c-1 c-2 c-3 d-1 d-2"),
    (["--shortest"], "a-4 b-1 c-1 c-2 d-2"), (["--per-spk"], "a-1 a-2 a-3 a-4 b-1 c-1 c-2 c-3 d-1 d-2"),
])
def test_subset_selects_five_of_ten(step, tmp_path, options, utts):
    write_files(tmp_path / "ten", TEN)
    said = step("subset_data_dir.py", *options, tmp_path / "ten", 5, tmp_path / "five")
    chosen = utts.split()
    assert said.splitlines()[-1].endswith(f"wrote {len(chosen)} of 10 utterances to {tmp_path}/five")
    lines = dict(line.split() for line in TEN["utt2num_frames"].splitlines())
    assert tables(tmp_path / "five")["utt2spk"] == "".join(f"{utt} {utt[0]}\n" for utt in chosen)
    assert tables(tmp_path / "five")["utt2num_frames"] == "".join(f"{utt} {lines[utt]}\n" for utt in chosen)


def test_subset_of_each_speaker_and_of_whole_speakers(step, tmp_path):
    write_files(tmp_path / "ten", TEN)
    step("subset_data_dir.py", "--per-spk", tmp_path / "ten", 2, tmp_path / "two")
    assert tables(tmp_path / "two")["spk2utt"] == "a a-1 a-3\nb b-1\nc c-1 c-2\nd d-1 d-2\n"
    step("subset_data_dir.py", "--speakers", tmp_path / "ten", 5, tmp_path / "five")
    speakers = [line.split() for line in tables(tmp_path / "five")["spk2utt"].splitlines()]
    whole = {"a": 4, "b": 1, "c": 3, "d": 2}
    sizes = [len(utts) for _, *utts in speakers]
    assert sizes == [whole[spk] for spk, *_ in speakers]
    assert 5 <= sum(sizes) < 5 + max(sizes)


def test_subset_by_lists_cuts_each_table_by_its_own_key(step, tmp_path, segmented):
    (segmented / "notes.txt").write_text("")
    (tmp_path / "utts").write_text("b-1 and more\n\na-2\n")
    said = step("subset_data_dir.py", "--utt-list", tmp_path / "utts", segmented, tmp_path / "out")
    assert f"{segmented}: left out notes.txt, not a table of a data directory" in said
    assert tables(tmp_path / "out") == {
        "utt2spk": "a-2 a\nb-1 b\n", "spk2utt": "a a-2\nb b-1\n", "wav.scp": "r1 x.wav\nr2 y.wav\n",
        "segments": "a-2 r1 1.5 3\nb-1 r2 0.25 2\n", "feats.scp": "a-2 f.ark:9\nb-1 f.ark:20\n",
        "vad.scp": "a-2 v.ark:9\nb-1 v.ark:20\n", "text": "a-2\nb-1 three\n", "utt2num_frames": "a-2 20\nb-1 5\n",
        "utt2dur": "a-2 0.2\nb-1 0.05\n", "spk2gender": "a f\nb m\n", "cmvn.scp": "a c.ark:3\nb c.ark:9\n",
        "reco2dur": "r1 2.6\nr2 2.0\n", "frame_shift": "0.01\n"}
    (tmp_path / "spks").write_text("b\n")
    step("subset_data_dir.py", "--spk-list", tmp_path / "spks", segmented, tmp_path / "b")
    got = tables(tmp_path / "b")
    assert (got["utt2spk"], got["wav.scp"], got["reco2dur"], got["cmvn.scp"], got["spk2gender"]) == (
        "b-1 b\n", "r2 y.wav\n", "r2 2.0\n", "b c.ark:9\n", "b m\n")
    step("validate_data_dir.py", tmp_path / "out")


def test_subset_made_again_is_current_or_refused(step, good, tmp_path):
    step("subset_data_dir.py", "--first", good, 2, tmp_path / "out")
    assert f"{tmp_path}/out is current" in step("subset_data_dir.py", "--first", good, 2, tmp_path / "out")
    said = step("subset_data_dir.py", "--last", good, 2, tmp_path / "out", code=1)
    assert "how was first, is last; --overwrite makes it anew" in said
    step("subset_data_dir.py", "--last", "--overwrite", good, 2, tmp_path / "out")
    assert tables(tmp_path / "out")["utt2spk"] == "a-2 a\nb-1 b\n"


@pytest.mark.parametrize(("words", "said"), [
    (["--first", "--last", "DIR", 2, "OUT"], "--first and --last are two selections; give one"),
    (["DIR", "OUT"], "the arguments are SRC N DEST, not"),
    (["--utt-list", "LIST", "DIR", 2, "OUT"], "the arguments are SRC DEST with a list, not"),
    (["DIR", "x", "OUT"], "'x' is not a valid integer range"), (["DIR", 0, "OUT"], "0 is not in the range x>=1"),
    (["DIR", 4, "OUT"], "4 utterances are asked for, but DIR has 3; ask for fewer"),
    (["--overwrite", "DIR", 2, "DIR"], "DIR: is to be read and to be written; write to another place"),
    (["--utt-list", "LIST", "DIR", "OUT"], "names 1 utterances that DIR/utt2spk does not have (z-9); remove them from"),
    (["--spk-list", "LIST", "DIR", "OUT"], "names 2 speakers that DIR/utt2spk does not have (a-1, z-9)"),
    (["--utt-list", "EMPTY", "DIR", "OUT"], "EMPTY: empty; a line begins with the name of what to keep"),
    (["--shortest", "BARE", 1, "OUT"], "neither utt2num_frames, utt2dur, segments is there to say how long"),
    (["BAD", 1, "OUT"], 'BAD/text:1: utterance "z" is not in utt2spk; remove the line (fix_data_dir.py BAD does); and '
                        "1 more, listed by: validate_data_dir.py --no-wav --no-feats BAD"),
])
def test_a_wrong_subset_is_one_line(step, good, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    shutil.move(good, "DIR")
    write_files(tmp_path, {"LIST": "a-1\nz-9\n", "EMPTY": "\n"})
    write_files(tmp_path / "BARE", {"utt2spk": "a a\n"})
    write_files(tmp_path / "BAD", {"utt2spk": "a a\n", "text": "z x\n"})
    assert said in step("subset_data_dir.py", *words, code=1).splitlines()[-1]
    assert not (tmp_path / "OUT" / "utt2spk").exists()
    assert (tmp_path / "DIR" / "utt2spk").read_text() == GOOD["utt2spk"]


@pytest.mark.parametrize("n_writes", [0, 1, 4])
def test_a_subset_that_is_killed_and_made_again_equals_one_never_killed(step, tmp_path, n_writes):
    words = [write_files(tmp_path / "ten", {**TEN, "text": TEN["utt2num_frames"]}), "5"]
    command = [ROOT / "steps" / "subset_data_dir.py", *words, tmp_path / "killed"]
    kill_before_write(n_writes, command)           # the record comes first, then two tables, spk2utt and utt2spk
    assert not (tmp_path / "killed" / "utt2spk").exists()
    step("subset_data_dir.py", *words, tmp_path / "killed")
    step("subset_data_dir.py", *words, tmp_path / "whole")
    files = tables(tmp_path / "whole")
    assert {name: text for name, text in tables(tmp_path / "killed").items() if name in files} == files


# ---- combine

OTHER = {"utt2spk": "b-2 b\nc-1 c\n", "wav.scp": "b-2 2.wav\nc-1 3.wav\n", "text": "b-2\nc-1 x\n",
         "spk2gender": "b m\nc f\n", "utt2dur": "b-2 4\nc-1 5.5\n", "frame_shift": "0.01\n"}


def test_combine_keeps_the_tables_that_all_have(step, good, tmp_path):
    other = write_files(tmp_path / "other", OTHER)
    said = step("combine_data_dir.py", tmp_path / "all", good, other)
    for name in ("feats.scp", "vad.scp", "utt2num_frames", "cmvn.scp", "reco2dur"):
        assert f"{name} is left out: {other} has none" in said
    assert f"wrote 5 utterances of 2 directories to {tmp_path}/all" in said.splitlines()[-1]
    assert tables(tmp_path / "all") == {
        "utt2spk": "a-1 a\na-2 a\nb-1 b\nb-2 b\nc-1 c\n", "spk2utt": "a a-1 a-2\nb b-1 b-2\nc c-1\n",
        "wav.scp": "a-1 x.wav\na-2 sox y - |\nb-1 z\nb-2 2.wav\nc-1 3.wav\n", "spk2gender": "a f\nb m\nc f\n",
        "text": "a-1 one two\na-2\nb-1 three\nb-2\nc-1 x\n", "frame_shift": "0.01\n",
        "utt2dur": "a-1 0.1\na-2 0.2\nb-1 0.05\nb-2 4\nc-1 5.5\n"}
    assert "is current" in step("combine_data_dir.py", tmp_path / "all", good, other)


def test_combine_makes_segments_where_only_some_have_them(step, segmented, tmp_path):
    other = write_files(tmp_path / "other", OTHER)
    step("combine_data_dir.py", tmp_path / "all", segmented, other)
    got = tables(tmp_path / "all")
    assert got["segments"] == "a-1 r1 0 1.5\na-2 r1 1.5 3\nb-1 r2 0.25 2\nb-2 b-2 0 4\nc-1 c-1 0 5.5\n"
    assert got["wav.scp"] == "b-2 2.wav\nc-1 3.wav\nr1 x.wav\nr2 y.wav\n"
    step("validate_data_dir.py", "--no-feats", tmp_path / "all")
    (other / "utt2dur").unlink()
    said = step("combine_data_dir.py", tmp_path / "more", segmented, other, code=1)
    assert f"{other}: no segments, which another source has, and no utt2dur to make it from; write" in said


@pytest.mark.parametrize(("changed", "words", "said"), [
    ({"spk2gender": "b f\nc f\n"}, [], 'other/spk2gender: "b" has "f", in good/spk2gender it has "m"; give one of them '
                                       "another name, or leave the table out with --skip spk2gender"),
    ({"utt2spk": "a-1 b\na-2 c\n", "text": "a-1\na-2\n", "wav.scp": "a-1 x.wav\na-2 sox y - |\n",
      "utt2dur": "a-1 0.1\na-2 0.2\n"}, ["--skip", "text"],
     'other/utt2spk: "a-1" has "b", in good/utt2spk it has "a"; and 1 more; give one of them another name'),
    ({"frame_shift": "0.02\n"}, [], "other/frame_shift: 0.02 s, in good/frame_shift it is 0.01 s; features of "),
    ({}, ["--skip", "utt2spk"], "--skip utt2spk: not a table that can be left out; those are segments, wav.scp, text,"),
    ({"text": "b-2\n"}, [], 'other/text: no line for utterance "c-1" of utt2spk; add it'),
])
def test_what_cannot_be_combined_is_named(step, good, tmp_path, monkeypatch, changed, words, said):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "other", {**OTHER, **changed})
    assert said in step("combine_data_dir.py", *words, "all", "good", "other", code=1).splitlines()[-1]
    assert not (tmp_path / "all" / "utt2spk").exists()


def test_a_table_can_be_skipped(step, good, tmp_path):
    other = write_files(tmp_path / "other", {**OTHER, "spk2gender": "b f\nc f\n"})
    step("combine_data_dir.py", "--skip", "spk2gender", tmp_path / "all", good, other)
    assert "spk2gender" not in tables(tmp_path / "all")


# ---- split

def test_split_by_speaker_and_by_utterance(step, segmented):
    said = step("split_data_dir.py", segmented, 2)
    assert said.splitlines()[-1].endswith(f"wrote 3 utterances in 2 parts to {segmented}/split2")
    first, second = (tables(segmented / "split2" / str(number)) for number in (1, 2))
    assert (first["utt2spk"], first["wav.scp"], first["cmvn.scp"]) == ("a-1 a\na-2 a\n", "r1 x.wav\n", "a c.ark:3\n")
    assert (second["segments"], second["reco2dur"], second["spk2utt"]) == ("b-1 r2 0.25 2\n", "r2 2.0\n", "b b-1\n")
    assert first.keys() == second.keys() == SEGMENTED.keys()
    step("validate_data_dir.py", segmented / "split2" / "2")
    step("split_data_dir.py", "--per-utt", segmented, 3)
    assert [tables(segmented / "split3utt" / str(number))["utt2spk"] for number in (1, 2, 3)] == [
        "a-1 a\n", "a-2 a\n", "b-1 b\n"]
    assert "split2 is current" in step("split_data_dir.py", segmented, 2)
    step("validate_data_dir.py", segmented)
    assert "3 parts; ask for 2 or fewer" in step("split_data_dir.py", segmented, 3, code=1)


def test_speakers_are_shared_out_evenly():
    def sizes(counts, n_parts):
        return [len(part) for part in by_speaker({str(i): [str(i)] * n for i, n in enumerate(counts)}, n_parts)]

    assert sizes([3, 3, 3, 3], 2) == [6, 6]
    assert sizes([9, 1, 1, 1], 3) == [9, 1, 2]          # the long one alone; then an even share of 3 in 2 parts is 1.5
    assert sizes([1, 1, 1, 9], 3) == [2, 1, 9]
    assert sizes([5, 1, 1], 3) == [5, 1, 1]
    with pytest.raises(UserError, match="2 speakers cannot make 3 parts; ask for 2 or fewer, or .* --per-utt"):
        by_speaker({"a": ["1", "2"], "b": ["3"]}, 3)


def test_utterances_are_shared_out_evenly():
    assert by_utterance(list("abcdefg"), 3) == [["a", "b"], ["c", "d"], ["e", "f", "g"]]
    with pytest.raises(UserError, match="2 utterances cannot make 3 parts"):
        by_utterance(["a", "b"], 3)


def test_augmented_copies_stay_copies(step, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clean = {"utt2spk": "a-1 a\nb-1 b\n", "wav.scp": "a-1 1.wav\nb-1 2.wav\n"}
    copies = {"utt2spk": "a-1-aug1 a\nb-1-aug1 b\n", "wav.scp": "a-1-aug1 1.wav\nb-1-aug1 2.wav\n",
              "utt2aug": "a-1-aug1 a-1 reverb id=r\nb-1-aug1 b-1 reverb id=r\n", "augment.toml": "noise_prob = 0.0\n"}
    write_files(tmp_path / "clean", clean)
    write_files(tmp_path / "copies", copies)
    step("subset_data_dir.py", "--first", "copies", 1, "one")
    assert (tmp_path / "one/utt2aug").read_text() == "a-1-aug1 a-1 reverb id=r\n"
    assert (tmp_path / "one/augment.toml").read_text() == "noise_prob = 0.0\n"
    said = step("combine_data_dir.py", "all", "clean", "copies", code=1)
    assert "copies/utt2aug: without it these copies would be read as what they are copies of; make the features" in said
    for name, tables in (("clean", clean), ("copies", copies)):
        feats = "".join(f"{line.split()[0]} f.ark:3\n" for line in tables["utt2spk"].splitlines())
        write_files(tmp_path / name, {"feats.scp": feats})
    assert "utt2aug is left out: clean has none" in step("combine_data_dir.py", "all", "clean", "copies")
    assert not (tmp_path / "all/utt2aug").exists() and not (tmp_path / "all/augment.toml").exists()
    write_files(tmp_path / "others", {name: text.replace("-aug1", "-aug2").replace("0.0", "0.1") for name, text in
                                      {**copies, "feats.scp": "a-1-aug1 f.ark:3\nb-1-aug1 f.ark:3\n"}.items()})
    said = step("combine_data_dir.py", "both", "copies", "others", code=1)
    assert "others/augment.toml: not the same as copies/augment.toml; copies made with different settings" in said
    step("combine_data_dir.py", "--skip", "utt2aug", "both", "copies", "others")
