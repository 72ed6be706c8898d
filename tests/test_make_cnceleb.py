"""local/make_cnceleb.py, on a miniature tree with the corpus's own layout."""

import logging
import sys
from pathlib import Path

import pytest
from trees import interrupted_after, lines, touch, tree

from pyspk.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local"))

import make_cnceleb  # noqa: E402

TRIALS = ("id00800-enroll test/id00800-singing-01-005.wav 1\nid00800-enroll test/id00801-live_broadcast-02-001.wav 0\n"
          "id00801-enroll test/id00801-live_broadcast-02-001.wav 1\n")


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.INFO, logger="pyspk")


@pytest.fixture
def parent(tmp_path):
    """CN-Celeb_flac, with an evaluation speaker in data too, and CN-Celeb2_flac."""
    for name in ("data/id00000/singing-01-001.flac", "data/id00000/live_broadcast-02-013.flac",
                 "data/id00001/vlog-01-001.flac", "data/id00800/vlog-01-001.flac",
                 "eval/enroll/id00800-enroll.flac", "eval/enroll/id00801-enroll.flac",
                 "eval/test/id00800-singing-01-005.flac", "eval/test/id00801-live_broadcast-02-001.flac"):
        touch(tmp_path / "CN-Celeb_flac", name)
    touch(tmp_path, "CN-Celeb2_flac/data/id10000/movie-01-001.flac")
    write(tmp_path / "CN-Celeb_flac/dev/dev.lst", "id00000\nid00001\n")
    write(tmp_path / "CN-Celeb_flac/eval/lists/trials.lst", TRIALS)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(*arguments):
    make_cnceleb.main.main([*map(str, arguments)], standalone_mode=False)


def test_by_hand(parent, caplog):
    make(parent, parent / "out")
    train, evaluated = parent / "out/cnceleb_train", parent / "out/cnceleb_eval"
    data = parent / "CN-Celeb_flac/data"
    assert lines(train / "wav.scp") == [
        f"id00000-live_broadcast-02-013 {data}/id00000/live_broadcast-02-013.flac",
        f"id00000-singing-01-001 {data}/id00000/singing-01-001.flac",
        f"id00001-vlog-01-001 {data}/id00001/vlog-01-001.flac"]
    assert lines(train / "spk2utt") == ["id00000 id00000-live_broadcast-02-013 id00000-singing-01-001",
                                        "id00001 id00001-vlog-01-001"]
    assert lines(evaluated / "utt2spk") == [
        "id00800-enroll id00800", "id00800-singing-01-005 id00800", "id00801-enroll id00801",
        "id00801-live_broadcast-02-001 id00801"]
    assert lines(parent / "out/trials/cnceleb") == [
        "id00800-enroll id00800-singing-01-005 target", "id00800-enroll id00801-live_broadcast-02-001 nontarget",
        "id00801-enroll id00801-live_broadcast-02-001 target"]
    assert "1 speakers are not for training by dev.lst (id00800), 1 of them are in the evaluation" in caplog.text
    assert f"wrote 3 utterances of 2 speakers to {train}" in caplog.text
    assert f"wrote 2 target and 1 nontarget trials to {parent}/out/trials/cnceleb" in caplog.text
    before = tree(parent / "out")
    make(parent / "CN-Celeb_flac", parent / "out")                 # the folder itself is the same corpus
    assert [record.getMessage() for record in caplog.records][-3:] == [
        f"{train} is current", f"{evaluated} is current", f"{parent}/out/trials/cnceleb is current"]
    assert tree(parent / "out") == before


def test_cnceleb2_is_more_training_and_a_prefix_keeps_the_ids_from_being_voxcelebs(parent):
    make("--prefix", "cn-", "--cnceleb2", parent, parent, parent / "out")
    assert lines(parent / "out/cnceleb_train/spk2utt") == [
        "cn-id00000 cn-id00000-live_broadcast-02-013 cn-id00000-singing-01-001", "cn-id00001 cn-id00001-vlog-01-001",
        "cn-id10000 cn-id10000-movie-01-001"]
    assert lines(parent / "out/cnceleb_eval/utt2spk")[0] == "cn-id00800-enroll cn-id00800"
    assert lines(parent / "out/trials/cnceleb")[0] == "cn-id00800-enroll cn-id00800-singing-01-005 target"


def test_flac_is_taken_before_wav_and_what_does_not_fit_is_named(parent, caplog):
    for name in ("data/id00000/singing-01-001.wav", "data/id00001/vlog-01-002.wav", "data/id00001/notes.txt",
                 "eval/test/id00801-enroll.wav", "eval/enroll/id00801-vlog-01-001.wav"):
        touch(parent / "CN-Celeb_flac", name)
    make(parent, parent / "out")
    root = parent / "CN-Celeb_flac"
    assert [line.rpartition("/")[2] for line in lines(parent / "out/cnceleb_train/wav.scp")] == [
        "live_broadcast-02-013.flac", "singing-01-001.flac", "vlog-01-001.flac", "vlog-01-002.wav"]
    assert lines(parent / "out/cnceleb_train/left_out") == [
        f"'{root}/data/id00001/notes.txt'\tnot data/idNNNNN/GENRE-NN-NNN.flac"]
    assert lines(parent / "out/cnceleb_eval/left_out") == [
        f"'{root}/eval/enroll/id00801-vlog-01-001.wav'\tnot eval/{{enroll/idNNNNN-enroll,test/idNNNNN-*}}.flac"]
    assert "left out 1 files that are not data/idNNNNN/GENRE-NN-NNN.flac" in caplog.text


def test_speakers_of_the_list_without_a_folder_are_said(parent, caplog):
    (parent / "CN-Celeb_flac/dev/dev.lst").write_text("id00000\nid00001\nid00002\n")
    make(parent, parent / "out")
    assert "dev.lst: 1 of 3 speakers have no folder in data (id00002); is it whole?" in caplog.text


@pytest.mark.parametrize(("file", "text", "message"), [
    ("dev/dev.lst", "id00000\nid00800\n", r"dev.lst: 1 speakers for training are in the evaluation \(id00800\); take"),
    ("dev/dev.lst", "id00000\n\n", r'dev.lst:2: "" names no speaker idNNNNN'),
    ("dev/dev.lst", "id00007\n", "cnceleb_train: no file of the corpus is data/idNNNNN/GENRE-NN-NNN.flac"),
    ("eval/lists/trials.lst", TRIALS + "id00800-enroll test/id00800-vlog-09-001.wav 1\n",
     r"trials.lst: 1 of the 5 utterances that it tries are not there \(id00800-vlog-09-001\)"),
    ("eval/lists/trials.lst", TRIALS + "id00800-enroll test/id00800-singing-01-005.wav\n",
     r'trials.lst:4: ".*" is no trial "ENROLL TEST 1" or 0'),
    ("eval/lists/trials.lst", TRIALS + "id00800-enroll test/id00800-singing-01-005.wav yes\n",
     'trials.lst:4: ".*" is no trial'),
    ("eval/lists/trials.lst", TRIALS + "id00800-enroll test/id00800-singing-01-005.wav 0\n",
     "trials.lst:4: .*: the label does not agree with the speakers"),
])
def test_what_is_refused_of_a_list(parent, file, text, message):
    (parent / "CN-Celeb_flac" / file).write_text(text)
    with pytest.raises(UserError, match=message):
        make(parent, parent / "out")
    assert not (parent / "out/trials/cnceleb").exists()


def test_evaluation_speakers_in_cnceleb2_are_refused(parent):
    touch(parent, "CN-Celeb2_flac/data/id00801/movie-01-001.flac")
    with pytest.raises(UserError, match=r"CN-Celeb2_flac/data: 1 speakers for training are in the evaluation \(id008"):
        make("--cnceleb2", parent, parent, parent / "out")


@pytest.mark.parametrize(("names", "message"), [
    ([], "{root}: without data, dev/dev.lst, eval/enroll, eval/test, eval/lists/trials.lst; give the folder CN-Celeb"),
    (["cn-celeb_v2.tar.gz"],
     "{root}: still packed (cn-celeb_v2.tar.gz); unpack with: cd {root} && tar xzf cn-celeb_v2.tar.gz")])
def test_a_corpus_that_is_not_there_or_packed(tmp_path, names, message):
    for name in names:
        touch(tmp_path, name)
    with pytest.raises(UserError) as refused:
        make(tmp_path, tmp_path / "out")
    assert message.format(root=tmp_path) in str(refused.value)


def test_cnceleb2_that_is_not_there_or_packed(parent):
    (parent / "empty").mkdir()
    with pytest.raises(UserError, match="empty: without data/idNNNNN; give the folder CN-Celeb2_flac with --cnceleb2"):
        make("--cnceleb2", parent / "empty", parent, parent / "out")
    for letter in "ac":
        touch(parent, f"empty/cn-celeb2_v2.tar.gza{letter}")
    with pytest.raises(UserError) as refused:
        make("--cnceleb2", parent / "empty", parent, parent / "out")
    assert ("cn-celeb2_v2.tar.gzab is missing: download that first, then unpack with: cd "
            f"{parent}/empty && cat cn-celeb2_v2.tar.gza? > cn-celeb2_v2.tar.gz && tar xzf cn-celeb2_v2.tar.gz"
            ) in str(refused.value)


def test_a_prefix_that_no_table_can_hold_is_refused(parent):
    with pytest.raises(UserError, match='--prefix "cn ": letters, digits'):
        make("--prefix", "cn ", parent, parent / "out")


@pytest.mark.parametrize("n_written", range(0, 12, 2))
def test_killed_and_resumed_equals_never_stopped(parent, monkeypatch, n_written):
    make(parent, parent / "whole")
    with interrupted_after(monkeypatch, n_written):
        make_cnceleb.main.callback(None, "", False, parent, parent / "out")
    make(parent, parent / "out")
    assert tree(parent / "out") == tree(parent / "whole")
