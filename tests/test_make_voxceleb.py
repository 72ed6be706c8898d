"""local/make_voxceleb{1,2}.py and make_voxceleb_trials.py, on miniature trees with the corpora's own layouts."""

import logging
import os
import shlex
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import interrupted_after, lines, touch

from pyspk import audio
from pyspk.datadir import DataDir
from pyspk.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local"))

import make_voxceleb1  # noqa: E402
import make_voxceleb2  # noqa: E402
import make_voxceleb_trials  # noqa: E402
from corpora import meta, packed, scan, voxceleb  # noqa: E402

REAL_LISTS = Path(os.environ.get("VOXCELEB_LISTS", ROOT.parent / "shared" / "data" / "voxceleb_lists"))
# As the real files begin: tabs in the first; a byte-order mark, blanks and carriage returns in the second.
META1 = ("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tA.J._Buckley\tm\tIreland\tdev\n"
         "id10002\tA.R._Rahman\tm\tIndia\tdev\nid10270\tEartha_Kitt\tf\tUSA\ttest\nid10271\tEbon\tm\tUSA\ttest\n")
META2 = ("\ufeffVoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \r\nid00012 ,n000012 ,m ,dev \r\nid00015 ,n000015 ,f ,dev \r\n"
         "id00017 ,n000017 ,m ,test ")


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.INFO, logger="pyspk")


def make1(*arguments):
    make_voxceleb1.main.main([*map(str, arguments)], standalone_mode=False)


def make2(*arguments):
    make_voxceleb2.main.main([*map(str, arguments)], standalone_mode=False)


def trials(*arguments):
    make_voxceleb_trials.main.main([*map(str, arguments)], standalone_mode=False)


def tables(folder):
    """Name -> text of every table of a data directory."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


DEV1 = ["id10002/0_-aXYZabc1/00002.wav", "id10001/1zcIwhmdeo4/00001.wav", "id10001/1zcIwhmdeo4/00002.wav"]
TEST1 = ["id10270/5r0dWxy17C8/00001.wav", "id10271/--5r0dWxy17/00001.wav"]


@pytest.fixture
def voxceleb1(tmp_path):
    """dev/wav and test/wav, as its two archives are mostly unpacked."""
    root = tmp_path / "voxceleb1"
    touch(root, *(f"dev/wav/{name}" for name in DEV1), *(f"test/wav/{name}" for name in TEST1))
    (root / "vox1_meta.csv").write_text(META1)
    return root


@pytest.fixture
def voxceleb2(tmp_path):
    """dev/aac and test/aac."""
    root = touch(tmp_path / "voxceleb2", "dev/aac/id00012/21Uxsk56VDQ/00001.m4a",
                 "dev/aac/id00012/21Uxsk56VDQ/00002.m4a", "dev/aac/id00015/Ab_-cdefgh1/00107.m4a",
                 "test/aac/id00017/01dfn2spqyE/00001.m4a")
    (root / "vox2_meta.csv").write_text(META2, encoding="utf-8", newline="")
    return root


# ---------------------------------------------------------------- data directories

def test_voxceleb1_by_hand(voxceleb1, tmp_path, caplog):
    make1(voxceleb1, "dev", tmp_path / "data")
    wav = voxceleb1 / "dev/wav"
    assert tables(tmp_path / "data") == {
        "wav.scp": f"id10001-1zcIwhmdeo4-00001 {wav}/id10001/1zcIwhmdeo4/00001.wav\n"
                   f"id10001-1zcIwhmdeo4-00002 {wav}/id10001/1zcIwhmdeo4/00002.wav\n"
                   f"id10002-0_-aXYZabc1-00002 {wav}/id10002/0_-aXYZabc1/00002.wav\n",
        "utt2spk": "id10001-1zcIwhmdeo4-00001 id10001\nid10001-1zcIwhmdeo4-00002 id10001\n"
                   "id10002-0_-aXYZabc1-00002 id10002\n",
        "spk2utt": "id10001 id10001-1zcIwhmdeo4-00001 id10001-1zcIwhmdeo4-00002\nid10002 id10002-0_-aXYZabc1-00002\n",
        "spk2gender": "id10001 m\nid10002 m\n",
        "left_out": ""}
    assert f"wrote 3 utterances of 2 speakers to {tmp_path}/data" in caplog.text
    assert "3 utterances, but VoxCeleb1 dev has 148642 as published; is it whole?" in caplog.text


@pytest.mark.parametrize(("dev", "test"), [
    ("dev/wav", "test/wav"), ("vox1_dev_wav/wav", "vox1_test_wav/wav"), ("wav", "wav"), (".", "."), ("dev", "test"),
    ("dev/dev/wav", "test")])
def test_every_layout_gives_the_same_parts(tmp_path, dev, test):
    root = touch(tmp_path / "corpus", *(f"{dev}/{name}" for name in DEV1), *(f"{test}/{name}" for name in TEST1))
    (root / "vox1_meta.csv").write_text(META1)
    names = {part: sorted(name.removesuffix(".wav").replace("/", "-") for name in found)
             for part, found in (("dev", DEV1), ("test", TEST1), ("all", DEV1 + TEST1))}
    for part, expected in names.items():
        make1(root, part, tmp_path / part)
        data = DataDir(tmp_path / part)
        assert list(data.utt2spk) == expected
        assert all(Path(path).is_file() for path in data.table("wav.scp").values())


def test_voxceleb2_m4a_as_paths_and_its_table_with_byte_order_mark(voxceleb2, tmp_path, caplog):
    make2(voxceleb2, "all", tmp_path / "data")
    aac = voxceleb2 / "dev/aac"
    assert lines(tmp_path / "data/wav.scp") == [
        f"id00012-21Uxsk56VDQ-00001 {aac}/id00012/21Uxsk56VDQ/00001.m4a",
        f"id00012-21Uxsk56VDQ-00002 {aac}/id00012/21Uxsk56VDQ/00002.m4a",
        f"id00015-Ab_-cdefgh1-00107 {aac}/id00015/Ab_-cdefgh1/00107.m4a",
        f"id00017-01dfn2spqyE-00001 {voxceleb2}/test/aac/id00017/01dfn2spqyE/00001.m4a"]
    assert lines(tmp_path / "data/spk2gender") == ["id00012 m", "id00015 f", "id00017 m"]
    assert "were all converted?" not in caplog.text


@pytest.mark.parametrize("folder", ["dev/aac", "dev/wav", "wav"])
def test_wav_is_taken_before_m4a_wherever_it_lies(voxceleb2, tmp_path, caplog, folder):
    touch(voxceleb2, f"{folder}/id00012/21Uxsk56VDQ/00002.wav")
    make2(voxceleb2, "dev", tmp_path / "data")
    assert [line.rpartition("/")[2] for line in lines(tmp_path / "data/wav.scp")] == [
        "00001.m4a", "00002.wav", "00107.m4a"]
    assert f"{voxceleb2}/{folder}/id00012/21Uxsk56VDQ/00002.wav" in (tmp_path / "data/wav.scp").read_text()
    assert "1 utterances are there as wav and as m4a: the wav is taken" in caplog.text
    assert "1 utterances as wav, but 2 only as m4a: were all converted?" in caplog.text


def test_a_pipe_for_m4a_is_quoted_and_runs(tmp_path, monkeypatch):
    root = touch(tmp_path / "Joe's  Vox $HOME", "dev/aac/id00012/21Uxsk56VDQ/00001.m4a",
                 "dev/wav/id00015/Abcdefghij1/1.wav")
    make2("--m4a-pipe", root, "dev", tmp_path / "data")
    path = f"{root}/dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    pipe = DataDir(tmp_path / "data").table("wav.scp")["id00012-21Uxsk56VDQ-00001"]
    assert pipe == f"ffmpeg -v error -nostdin -i {shlex.quote(path)} -f wav -ac 1 -ar 16000 - |"
    assert lines(tmp_path / "data/wav.scp")[1] == f"id00015-Abcdefghij1-1 {root}/dev/wav/id00015/Abcdefghij1/1.wav"
    samples = np.arange(100, dtype=np.int16)
    soundfile.write(path + ".wav", samples, 16000)
    (tmp_path / "ffmpeg").write_text(                                     # $5 is the whole path, or nothing is read
        '#!/bin/bash\n[ "${*:1:4} ${*:6}" = "-v error -nostdin -i -f wav -ac 1 -ar 16000 -" ] && exec cat "$5.wav"\n')
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    decoded, rate_hz = audio.load(pipe)
    assert rate_hz == 16000 and decoded.tolist() == samples.tolist()


def test_without_a_table_of_speakers_there_are_no_genders_and_it_is_said(voxceleb1, tmp_path, caplog):
    (voxceleb1 / "vox1_meta.csv").rename(tmp_path / "table")
    make1(voxceleb1, "test", tmp_path / "data")
    assert not (tmp_path / "data/spk2gender").exists()
    assert "no vox1_meta.csv, so no spk2gender; download it from https://" in caplog.text
    make1("--meta", tmp_path / "table", voxceleb1, "test", tmp_path / "named")
    assert lines(tmp_path / "named/spk2gender") == ["id10270 f", "id10271 m"]


def test_files_that_do_not_fit_are_counted_and_named(voxceleb1, tmp_path, caplog):
    touch(voxceleb1, "dev/wav/id10001/1zcIwhmdeo4/._00001.wav", "dev/wav/id10001/00001.wav", "dev/wav/notes",
          "dev/wav/id10002/0_-aXYZabc1/deep/00001.wav", "dev/wav/Eartha_Kitt/a/00001.wav")
    make1(voxceleb1, "dev", tmp_path / "data")
    assert len(lines(tmp_path / "data/wav.scp")) == 3
    assert [line.split("\t")[0] for line in lines(tmp_path / "data/left_out")] == [
        "'dev/wav/Eartha_Kitt'", "'dev/wav/id10001/00001.wav'", "'dev/wav/id10001/1zcIwhmdeo4/._00001.wav'",
        "'dev/wav/id10002/0_-aXYZabc1/deep/'", "'dev/wav/notes'"]
    assert "left out 5 files that are not idNNNNN/VIDEO/NNNNN.wav or .m4a ('dev/wav/Eartha_Kitt', " in caplog.text


def test_linked_speakers_are_followed_and_a_link_to_above_ends(voxceleb1, tmp_path):
    root = touch(tmp_path / "linked", "dev/wav/id10002/abcdefghij1/00001.wav")
    (root / "dev/wav/id10001").symlink_to(voxceleb1 / "dev/wav/id10001")
    (root / "dev/wav/id10002/loop").symlink_to(root / "dev/wav")
    make1(root, "dev", tmp_path / "data")
    assert len(lines(tmp_path / "data/wav.scp")) == 3
    assert {line.partition("\t")[0] for line in lines(tmp_path / "data/left_out")} == {
        "'dev/wav/id10002/loop/id10001/'", "'dev/wav/id10002/loop/id10002/'"}


def test_a_rerun_is_current_and_another_corpus_is_refused_unless_overwrite(voxceleb1, tmp_path, caplog):
    make1(voxceleb1, "test", tmp_path / "data")
    before = (tmp_path / "data/wav.scp").stat().st_mtime_ns
    make1(voxceleb1, "test", tmp_path / "data")
    assert f"{tmp_path}/data is current" in caplog.text
    assert (tmp_path / "data/wav.scp").stat().st_mtime_ns == before
    touch(voxceleb1, "test/wav/id10270/5r0dWxy17C8/00002.wav")
    with pytest.raises(UserError, match=r"wav\.scp exists, but files was 2 \(hash \w+\), is 3 \(hash \w+\); --ov"):
        make1(voxceleb1, "test", tmp_path / "data")
    (voxceleb1 / "vox1_meta.csv").unlink()
    make1("--overwrite", voxceleb1, "test", tmp_path / "data")
    assert len(lines(tmp_path / "data/utt2spk")) == 3
    assert not (tmp_path / "data/spk2gender").exists()


@pytest.mark.parametrize("n_written", range(6))       # record, left_out, spk2gender, spk2utt, utt2spk, wav.scp
def test_killed_at_any_file_and_resumed_equals_never_stopped(voxceleb1, tmp_path, monkeypatch, n_written):
    make1(voxceleb1, "all", tmp_path / "whole")
    with interrupted_after(monkeypatch, n_written):
        make_voxceleb1.main.callback(None, False, voxceleb1, "all", tmp_path / "data")
    assert not (tmp_path / "data/wav.scp").exists()
    make1(voxceleb1, "all", tmp_path / "data")
    assert tables(tmp_path / "data") == tables(tmp_path / "whole")


@pytest.mark.parametrize(("part", "change", "message"), [
    ("dev", ["test/wav/id10270 dev/wav/id10270"], r"dev/wav: 1 speakers \(id10270\) belong to test; move them out"),
    ("dev", ["test/wav/id10270 dev/wav/id10270", "vox1_meta.csv meta"],
     r"dev/wav: 1 speakers \(id10270\) belong to test; move them out"),
    ("dev", ["dev/wav/id10002 dev/wav/id10009"],
     r"dev/wav: 1 speakers are not in the corpus's table \(id10009\); is it another corpus, or"),
    ("dev", ["dev/wav/id10002 dev/wav/id19999", "vox1_meta.csv meta"], r"table \(id19999\); is it another corpus, or"),
    ("all", ["dev/wav wav", "test away"],
     r"no speakers of VoxCeleb1 test; expected idNNNNN/VIDEO/NNNNN.wav or .m4a, in test/wav"),
    ("dev", ["dev away"], "no speakers of VoxCeleb1 dev; expected"),
    ("test", ["test/wav/id10270/5r0dWxy17C8/00001.wav test/wav/id10270/5r0dWxy17C8/a.wav", "test/wav/id10271 away"],
     r"1 speakers in test/wav, but no file that is idNNNNN/VIDEO/NNNNN.wav or .m4a \(test/wav/id10270/5r0dWxy17C8/a.wav"
     r"\); unpack"),
])
def test_what_is_refused_of_a_tree(voxceleb1, tmp_path, part, change, message):
    for move in change:
        old, new = move.split()
        (voxceleb1 / old).rename(voxceleb1 / new)
    with pytest.raises(UserError, match=message):
        make1(voxceleb1, part, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_voxceleb2_all_in_one_folder_takes_its_table(voxceleb2, tmp_path):
    (voxceleb2 / "dev/aac").rename(voxceleb2 / "aac")
    (voxceleb2 / "test/aac/id00017").rename(voxceleb2 / "aac/id00017")
    make2(voxceleb2, "dev", tmp_path / "dev")
    assert lines(tmp_path / "dev/spk2gender") == ["id00012 m", "id00015 f"]
    (voxceleb2 / "vox2_meta.csv").unlink()
    with pytest.raises(UserError, match="/aac: dev and test may both lie here, and vox2_meta.csv tells them apart; "
                                        "download it from https.* or name it with --meta FILE"):
        make2(voxceleb2, "dev", tmp_path / "data")
    make2(voxceleb2, "all", tmp_path / "all")
    assert len(lines(tmp_path / "all/utt2spk")) == 4


def test_an_utterance_in_two_places_is_refused(voxceleb1, tmp_path):
    touch(voxceleb1, "wav/id10001/1zcIwhmdeo4/00001.wav")
    with pytest.raises(UserError, match="dev/wav/id10001/1zcIwhmdeo4/00001.wav and wav/id10001/1zcIwhmdeo4/00001.wav "
                                        "are the same utterance; keep one of them"):
        make1(voxceleb1, "dev", tmp_path / "data")


@pytest.mark.parametrize(("text", "message"), [
    ("", r"meta:1: the columns are \"\", without Gender or Set"),
    ("id,sex\nid1,m", r"meta:1: the columns are \"id, sex\", without Gender or Set; this is no table of VoxCeleb's"),
    (META1 + "id10003\tAamir_Khan\tm", r"meta:6: \"id10003\tAamir_Khan\tm\" does not give VoxCeleb1 ID, VGGFace1 ID, "),
    (META2 + "\nid00018 ,n000018 ,x ,dev ", r"meta:5: \"id00018 ,n000018 ,x ,dev\" does not give .* with m or f"),
    (META2 + "\nid00018 ,n000018 ,m ,eval", r"meta:5: .* dev or test; download the file again")])
def test_a_damaged_table_of_speakers_is_refused(tmp_path, text, message):
    (tmp_path / "meta").write_text(text)
    with pytest.raises(UserError, match=message):
        meta.read_meta(tmp_path / "meta")


@pytest.mark.skipif(not REAL_LISTS.is_dir(), reason=f"no real lists in {REAL_LISTS}; VOXCELEB_LISTS names their folder")
def test_the_real_lists_and_tables_of_speakers_are_as_we_think():
    first, second = (meta.read_meta(REAL_LISTS / f"vox{number}_meta.csv") for number in (1, 2))
    assert Counter(first.values()).total() == 1251 and first.keys().isdisjoint(second)
    assert sorted(name for name, speaker in first.items() if speaker.part == "test") == [
        f"id{number}" for number in range(10270, 10310)]
    assert Counter(speaker.part for speaker in second.values())["dev"] == 5994
    assert {name: speaker.part for name, speaker in first.items()} == voxceleb.VOXCELEB1.parts
    for corpus, known in ((voxceleb.VOXCELEB1, first), (voxceleb.VOXCELEB2, second)):
        assert all(corpus.speakers.fullmatch(name) for name in known)
    for name in ("veri_test.txt", "veri_test2.txt"):
        assert len(lines(REAL_LISTS / name)) == make_voxceleb_trials.N_TRIALS[name]


# ---------------------------------------------------------------- archives that are still packed

@pytest.mark.parametrize(("make", "part", "archives", "message"), [
    (make1, "dev", ["vox1_dev_wav_partaa", "vox1_dev_wav_partab", "vox1_dev_wav_partac", "vox1_dev_wav_partad"],
     "still packed (vox1_dev_wav_partaa, vox1_dev_wav_partab, vox1_dev_wav_partac, vox1_dev_wav_partad); unpack with: "
     "cd {root} && cat vox1_dev_wav_parta? > vox1_dev_wav.zip && unzip -q vox1_dev_wav.zip -d dev"),
    (make1, "dev", ["vox1_dev_wav_partaa", "vox1_dev_wav_partad"],
     "still packed (vox1_dev_wav_partaa, vox1_dev_wav_partad); vox1_dev_wav_partab, vox1_dev_wav_partac are missing: "
     "download that first, then unpack with: cd {root} && cat "),
    (make1, "test", ["vox1_test_wav.zip", "vox1_dev_wav_partaa"],
     "still packed (vox1_test_wav.zip); unpack with: cd {root} && unzip -q vox1_test_wav.zip -d test"),
    (make2, "dev", [f"vox2_dev_aac_parta{letter}" for letter in "abcdefg"],
     "vox2_dev_aac_partah is missing: download that first, then unpack with: cd {root} && cat vox2_dev_aac_parta? > "
     "vox2_aac.zip && unzip -q vox2_aac.zip"),
    (make2, "dev", ["vox2_dev_aac.zip"], "unpack with: cd {root} && unzip -q vox2_dev_aac.zip"),
    (make2, "all", ["vox2_aac.zip"], "still packed (vox2_aac.zip); unpack with: cd {root} && unzip -q vox2_aac.zip")])
def test_archives_still_packed_are_named_with_the_commands(tmp_path, make, part, archives, message):
    root = touch(tmp_path / "my corpora", *archives)
    with pytest.raises(UserError) as refused:
        make(root, part, tmp_path / "data")
    assert message.format(root=f"'{root}'") in str(refused.value)


def test_the_command_for_pieces_does_what_it_says(tmp_path):
    touch(tmp_path / "tree", "wav/id10001/1zcIwhmdeo4/00001.wav")
    root = tmp_path / "root"
    root.mkdir()
    os.system(f"cd {root} && tar czf ../whole -C {tmp_path}/tree wav && split -n 3 ../whole corpus.tar.gza")
    pieces = sorted(path.name for path in root.iterdir())
    (root / "dev").mkdir()
    with pytest.raises(UserError) as refused:
        packed.refuse_packed(root, [packed.Archive("corpus.tar.gz", pieces, "dev")])
    assert os.system(str(refused.value).partition("unpack with: ")[2]) == 0
    make1(root, "dev", tmp_path / "data")
    assert len(lines(tmp_path / "data/wav.scp")) == 1


# ---------------------------------------------------------------- trials

A, B, C = "id10270-5r0dWxy17C8-00001", "id10270-5r0dWxy17C8-00002", "id10271--abcdefghij-00001"
LIST = ("1 id10270/5r0dWxy17C8/00001.wav id10270/5r0dWxy17C8/00002.wav\n"
        "0 id10271/-abcdefghij/00001.wav id10270/5r0dWxy17C8/00001.wav\n")


def data_dir(folder, *utts):
    folder.mkdir()
    (folder / "utt2spk").write_text("".join(f"{utt} {utt.partition('-')[0]}\n" for utt in utts))
    return folder


@pytest.fixture
def veri(tmp_path):
    """A list of two trials under a name that is not published, and eval, the data directory it tries."""
    data_dir(tmp_path / "eval", A, B, C)
    (tmp_path / "some_list.txt").write_text(LIST)
    return tmp_path / "some_list.txt"


def test_trials_keep_the_order_of_their_list(veri, tmp_path, caplog):
    trials(veri, tmp_path / "eval", tmp_path / "trials/o")
    assert lines(tmp_path / "trials/o") == [f"{A} {B} target", f"{C} {A} nontarget"]
    assert f"wrote 1 target and 1 nontarget trials to {tmp_path}/trials/o" in caplog.text
    assert "published" not in caplog.text
    trials(veri, tmp_path / "eval", tmp_path / "trials/o")
    assert f"{tmp_path}/trials/o is current" in caplog.text
    veri.write_text(LIST.partition("\n")[0])                      # the real veri_test2.txt ends without a newline too
    with pytest.raises(UserError, match=r"trials/o exists, but its input list has changed; --overwrite"):
        trials(veri, tmp_path / "eval", tmp_path / "trials/o")
    trials("--overwrite", veri, tmp_path / "eval", tmp_path / "trials/o")
    assert lines(tmp_path / "trials/o") == [f"{A} {B} target"]


@pytest.mark.parametrize(("name", "published"), [
    ("veri_test.txt", 37720), ("veri_test2.txt", 37611), ("list_test_all.txt", 581480), ("list_test_all2.txt", 579818),
    ("list_test_hard.txt", 552536), ("list_test_hard2.txt", 550894)])
def test_a_list_with_another_number_of_trials_than_published_is_said(veri, tmp_path, caplog, name, published):
    trials(veri.rename(tmp_path / name), tmp_path / "eval", tmp_path / "trials")
    assert f"{name}: 2 trials, but the list of this name has {published} as published; is it whole?" in caplog.text


@pytest.mark.parametrize("train", ["id10270", "sp0.9-id10270"])
def test_speakers_of_the_training_data_are_refused(veri, tmp_path, train):
    clean = data_dir(tmp_path / "vox2", "id00012-21Uxsk56VDQ-00001")
    dirty = tmp_path / "dirty"
    dirty.mkdir()
    (dirty / "utt2spk").write_text(f"{train}-x {train}\n")
    trials("--train-data", clean, veri, tmp_path / "eval", tmp_path / "fine")
    with pytest.raises(UserError, match=r"some_list.txt: 1 of its 2 speakers are in the training data .*dirty "
                                        r"\(id10270\); train without them"):
        trials("--train-data", clean, "--train-data", dirty, veri, tmp_path / "eval", tmp_path / "trials")
    assert not (tmp_path / "trials").exists()


def test_the_dev_part_is_refused_as_training_data_of_e(voxceleb1, tmp_path):
    for part in ("dev", "test", "all"):
        make1(voxceleb1, part, tmp_path / part)
    hard = tmp_path / "list_test_hard2.txt"
    hard.write_text("1 id10001/1zcIwhmdeo4/00001.wav id10001/1zcIwhmdeo4/00002.wav\n"
                    "0 id10001/1zcIwhmdeo4/00001.wav id10270/5r0dWxy17C8/00001.wav\n")
    with pytest.raises(UserError, match=r"1 of its 2 speakers are in the training data .*/dev \(id10001\)"):
        trials("--train-data", tmp_path / "dev", hard, tmp_path / "all", tmp_path / "trials")
    with pytest.raises(UserError, match=r"2 of its 3 utterances are not in .*/test \(id10001-1zcIwhmdeo4-00001, "
                                        r"id10001-1zcIwhmdeo4-00002\); it takes make_voxceleb1.py \.\.\. all"):
        trials(hard, tmp_path / "test", tmp_path / "trials")
    trials(hard, tmp_path / "all", tmp_path / "trials")


@pytest.mark.parametrize(("text", "message"), [
    (LIST + "1 id10270/5r0dWxy17C8/00001.wav id10270/5r0dWxy17C8/00003.wav\n",
     r"1 of its 4 utterances are not in .*/eval \(id10270-5r0dWxy17C8-00003\); make the data directory"),
    (LIST.replace("0 id", "1 id"), r"some_list.txt:2: 1 of 2 labels do not agree with the speakers, this one first"),
    (LIST + "1 id10270/5r0dWxy17C8/00001.wav\n", "some_list.txt:3: 2 fields"),
    (LIST + "2 a/b/c.wav a/b/d.wav\n", 'some_list.txt:3: "2" is no label')])
def test_what_is_refused_of_a_list(veri, tmp_path, text, message):
    veri.write_text(text)
    with pytest.raises(UserError, match=message):
        trials(veri, tmp_path / "eval", tmp_path / "trials")
    assert not (tmp_path / "trials").exists()


def test_a_published_list_that_is_not_there_is_named_with_its_address(tmp_path):
    with pytest.raises(UserError, match="veri_test2.txt: no such file; download it from https://www.robots.ox.ac.uk/~vgg/"
                                        "data/voxceleb/meta/veri_test2.txt"):
        trials(tmp_path / "veri_test2.txt", tmp_path, tmp_path / "trials")


# ---------------------------------------------------------------- the executables, and scanning

def test_each_runs_as_a_user_runs_it(step, voxceleb1, tmp_path):
    said = step("make_voxceleb1.py", voxceleb1, "test", tmp_path / "data")
    assert said.splitlines()[0] == f"make_voxceleb1.py: make_voxceleb1.py {voxceleb1} test {tmp_path}/data"
    assert said.splitlines()[-1] == f"make_voxceleb1.py: wrote 2 utterances of 2 speakers to {tmp_path}/data"
    assert "folders:" not in said                          # no progress bar where no one looks
    said = step("make_voxceleb2.py", voxceleb1, "dev", tmp_path / "data2", code=1)
    assert len(said.splitlines()) == 2 and "error: " in said
    assert "is not one of 'dev', 'test', 'all'" in step("make_voxceleb2.py", voxceleb1, "eval", tmp_path / "x", code=1)


def test_a_path_that_no_table_can_hold_is_refused(tmp_path):
    (tmp_path / "a\nb").mkdir()
    with pytest.raises(UserError, match=r"a\\nb': a path with unprintable characters; rename it"):
        scan.corpus_root(tmp_path / "a\nb", ".")
