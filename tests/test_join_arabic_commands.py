"""local/join_arabic_commands.py, on a corpus of two speakers, two rounds and five words."""

import shutil
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile

from pyspk.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local"))

import join_arabic_commands as arabic  # noqa: E402

RATE_HZ = 16000


def write(path, samples, rate_hz=RATE_HZ):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz)


def noise(rng, n_samples=200):
    return rng.integers(-32768, 32768, n_samples).astype(np.int16)


@pytest.fixture
def corpus(tmp_path):
    """Ten recordings a speaker, of noise and of differing lengths; by name the words are five left nine stop two."""
    rng = np.random.default_rng(0)
    for speaker in ("ar01", "ar-02"):
        for number in ("01", "02"):
            for word in ("two", "nine", "five", "stop", "left"):
                write(tmp_path / f"corpus/{speaker}/{speaker}-{word}-{number}.flac", noise(rng, rng.integers(100, 200)))
    (tmp_path / "corpus/manifest.tsv").write_text("path\tspeaker\tseconds\n")
    return tmp_path / "corpus"


def join(corpus, out, *options):
    arabic.main.main([*map(str, options), str(corpus), str(out)], standalone_mode=False)
    return out


def samples(folder, *names):
    """The samples of recordings `names` of SPEAKER/NAME.flac, one after the other."""
    parts = [soundfile.read(folder / f"{name}.flac", dtype="int16")[0] for name in names]
    return [sample for part in parts for sample in part.tolist()]


def names(folder):
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.flac"))


def tree(folder):
    """Relative path -> bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_words_of_a_round_are_joined_in_order_of_name_and_the_last_utterance_takes_the_rest(corpus, tmp_path):
    out = join(corpus, tmp_path / "out")
    assert names(out) == ["ar-02/ar-02-01-1", "ar-02/ar-02-01-2", "ar-02/ar-02-02-1", "ar-02/ar-02-02-2",
                          "ar01/ar01-01-1", "ar01/ar01-01-2", "ar01/ar01-02-1", "ar01/ar01-02-2"]
    assert samples(out, "ar01/ar01-02-1") == samples(
        corpus, "ar01/ar01-five-02", "ar01/ar01-left-02", "ar01/ar01-nine-02", "ar01/ar01-stop-02")
    assert samples(out, "ar01/ar01-02-2") == samples(corpus, "ar01/ar01-two-02")
    assert samples(out, "ar-02/ar-02-01-2") == samples(corpus, "ar-02/ar-02-two-01")
    info = soundfile.info(out / "ar01/ar01-02-1.flac")
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", RATE_HZ, 1)
    assert (out / "sources").read_text().splitlines()[:2] == [
        "ar-02-01-1 ar-02-five-01 ar-02-left-01 ar-02-nine-01 ar-02-stop-01", "ar-02-01-2 ar-02-two-01"]


def test_one_word_an_utterance_is_the_recordings_themselves(corpus, tmp_path):
    out = join(corpus, tmp_path / "out", "--words", 1)
    assert len(names(out)) == 20
    for number, word in enumerate(("five", "left", "nine", "stop", "two"), start=1):
        assert samples(out, f"ar01/ar01-01-{number}") == samples(corpus, f"ar01/ar01-{word}-01")


def test_more_words_than_a_round_has_are_one_utterance(corpus, tmp_path):
    out = join(corpus, tmp_path / "out", "--words", 9)
    assert names(out) == ["ar-02/ar-02-01-1", "ar-02/ar-02-02-1", "ar01/ar01-01-1", "ar01/ar01-02-1"]
    assert samples(out, "ar01/ar01-01-1") == samples(
        corpus, *(f"ar01/ar01-{word}-01" for word in ("five", "left", "nine", "stop", "two")))


def test_recordings_of_two_channels_keep_them(tmp_path):
    stereo = np.arange(200, dtype=np.int16).reshape(100, 2)
    for word in ("left", "right"):
        write(tmp_path / f"corpus/a/a-{word}-1.flac", stereo)
    join(tmp_path / "corpus", tmp_path / "out")
    joined, _ = soundfile.read(tmp_path / "out/a/a-1-1.flac", dtype="int16")
    np.testing.assert_array_equal(joined, np.concatenate([stereo, stereo]))


# ---------------------------------------------------------------- started again

def test_a_second_run_is_current_and_another_folder_gets_the_same_bytes(corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    out = join(corpus, tmp_path / "out")
    assert f"wrote 8 utterances of 20 recordings to {out}" in caplog.text
    before, made_at = tree(out), (out / "ar01/ar01-01-1.flac").stat().st_mtime_ns
    join(corpus, out)
    assert f"{out} is current" in caplog.text
    assert tree(out) == before and (out / "ar01/ar01-01-1.flac").stat().st_mtime_ns == made_at
    assert tree(join(corpus, tmp_path / "again")) == before


def test_utterances_of_other_words_are_refused_and_never_mixed(corpus, tmp_path):
    out = join(corpus, tmp_path / "out", "--words", 2)
    before = tree(out)
    with pytest.raises(UserError, match="out/sources exists, but words was 2, is 4; --overwrite makes it anew"):
        join(corpus, out)
    assert tree(out) == before
    join(corpus, out, "--overwrite")
    assert tree(out) == tree(join(corpus, tmp_path / "new"))


def test_a_changed_recording_is_seen(corpus, tmp_path):
    out = join(corpus, tmp_path / "out")
    shutil.copy(corpus / "ar01/ar01-left-01.flac", corpus / "ar01/ar01-two-02.flac")
    with pytest.raises(UserError, match="out/sources exists, but its input ar01-two-02 has changed; --overwrite makes"):
        join(corpus, out)
    join(corpus, out, "--overwrite")
    assert samples(out, "ar01/ar01-02-2") == samples(corpus, "ar01/ar01-left-01")


def test_a_run_that_was_stopped_goes_on_to_the_same_end(corpus, tmp_path, monkeypatch):
    whole, out = join(corpus, tmp_path / "whole"), tmp_path / "out"
    write_all, written = soundfile.write, []

    def write_some(file, data, *arguments, **options):
        written.append(Path(file.name).name.removesuffix(".tmp"))
        write_all(file, data[:10] if len(written) == 6 else data, *arguments, **options)
        if len(written) == 6:
            raise KeyboardInterrupt                                             # in the middle of the sixth

    monkeypatch.setattr(soundfile, "write", write_some)
    with pytest.raises(click.Abort):
        join(corpus, out)
    assert names(out) == names(whole)[:5] and not (out / "sources").exists()
    with pytest.raises(UserError, match="out/ar-02/ar-02-01-1.flac exists, but words was 4, is 3; --overwrite makes"):
        join(corpus, out, "--words", 3)
    join(corpus, out)
    assert written[6:] == [".ar01-01-2.flac", ".ar01-02-1.flac", ".ar01-02-2.flac"]     # the first five are kept
    assert tree(out) == tree(whole)


# ---------------------------------------------------------------- what is refused

@pytest.mark.parametrize(("name", "message"), [
    ("a/left.flac", "a/left.flac: not a name of this corpus, SPEAKER/SPEAKER-WORD-ROUND.flac$"),
    ("a/a-left.flac", "a/a-left.flac: not a name"),
    ("a/a-left-one.flac", "a/a-left-one.flac: not a name"),
    ("b/a-left-1.flac", "b/a-left-1.flac: not a name"),                         # another speaker's folder
    ("a/a-1-1.flac", "a/a-1-1.flac: not a name"),                               # what this script writes
    ("a/a-left-1.wav", "corpus: no recordings SPEAKER/SPEAKER-WORD-ROUND.flac in it$"),
    ("a-left-1.flac", "corpus: no recordings")])
def test_a_corpus_of_other_names_or_none_is_refused(tmp_path, name, message):
    write(tmp_path / "corpus" / name, np.zeros(100, np.int16))
    with pytest.raises(UserError, match=message):
        join(tmp_path / "corpus", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("recording", "rate_hz", "message"), [
    (np.zeros(100, np.int16), 8000, r"a-left-1.flac, .*/a-right-1.flac: of different sampling rates or numbers"),
    (np.zeros((100, 2), np.int16), RATE_HZ, "of different sampling rates or numbers of channels$"),
    (None, None, "a-right-1.flac: not readable as audio")])
def test_recordings_that_cannot_be_joined_are_named(tmp_path, recording, rate_hz, message):
    write(tmp_path / "corpus/a/a-left-1.flac", np.zeros(100, np.int16))
    if recording is None:
        (tmp_path / "corpus/a/a-right-1.flac").write_bytes(b"not audio")
    else:
        write(tmp_path / "corpus/a/a-right-1.flac", recording, rate_hz)
    with pytest.raises(UserError, match=message):
        join(tmp_path / "corpus", tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_a_folder_with_something_else_is_left_alone(corpus, tmp_path):
    write(tmp_path / "mine/me/1.flac", np.zeros(100, np.int16))
    for out in (tmp_path / "mine", corpus):
        before = tree(out)
        for options in ([], ["--overwrite"]):
            with pytest.raises(UserError, match=f"{out} holds something else already; name another folder"):
                join(corpus, out, *options)
        assert tree(out) == before


def test_a_mistake_ends_with_one_line(corpus, tmp_path, step):
    assert "wrote 8 utterances of 20 recordings" in step("join_arabic_commands.py", corpus, tmp_path / "out")
    assert step("join_arabic_commands.py", "--words", 2, corpus, tmp_path / "out", code=1).splitlines()[-1] == (
        f"join_arabic_commands.py: error: {tmp_path}/out/sources exists, but words was 4, is 2; --overwrite makes it "
        "anew, or choose another place")
