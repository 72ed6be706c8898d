"""local/make_musan.py and make_rirs.py, on miniature trees with the corpora's own layouts."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from trees import interrupted_after, lines, tree

from pyspk.datadir import DataDir
from pyspk.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local"))

import make_musan  # noqa: E402
import make_rirs  # noqa: E402

REAL = "RIRS_NOISES/real_rirs_isotropic_noises"


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.INFO, logger="pyspk")


def sound(path, seconds=0.5, n_channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((round(seconds * 16000), n_channels), np.int16), 16000)


def musan(*arguments):
    make_musan.main.main([*map(str, arguments)], standalone_mode=False)


def rirs(*arguments):
    make_rirs.main.main([*map(str, arguments)], standalone_mode=False)


@pytest.fixture
def corpora(tmp_path):
    """musan and RIRS_NOISES."""
    for number, name in enumerate(("noise/free-sound/noise-free-sound-0001", "noise/sound-bible/noise-sound-bible-0000",
                                   "noise/free-sound/noise-free-sound-0000", "music/fma/music-fma-0000",
                                   "speech/us-gov/speech-us-gov-0000"), start=1):
        sound(tmp_path / f"musan/{name}.wav", number / 4)
    for name in ("README", "noise/free-sound/LICENSE", "noise/free-sound/ANNOTATIONS", "music/fma/LICENSE"):
        (tmp_path / "musan" / name).touch()
    for size in ("small", "medium", "large"):
        folder = f"RIRS_NOISES/simulated_rirs/{size}room"
        names = ["Room001/Room001-00001.wav", "Room002/Room002-00001.wav"]
        for name in names:
            sound(tmp_path / folder / name)
        (tmp_path / folder / "rir_list").write_text("".join(
            f"--rir-id {size}-{Path(name).stem} --room-id {size}-{name[:7]} {folder}/{name}\n" for name in names))
        (tmp_path / folder / "room_info").touch()
    sound(tmp_path / REAL / "RWCP_type4_rir_p30r.wav", 1.5, n_channels=3)
    sound(tmp_path / REAL / "air_type1_air_binaural_booth_0_1.wav", 0.25)
    sound(tmp_path / REAL / "RWCP_type4_noise_p30r_1.wav", 2, n_channels=2)
    (tmp_path / REAL / "rir_list").write_text(
        f"--rir-id 00001 --room-id RWCP_p30r --receiver-position-id 1 {REAL}/RWCP_type4_rir_p30r.wav\n"
        f"--rir-id 00002 --room-id air_booth {REAL}/air_type1_air_binaural_booth_0_1.wav\n")
    (tmp_path / REAL / "noise_list").write_text(
        f"--noise-id 00001 --noise-type isotropic --room-linkage RWCP_p30r {REAL}/RWCP_type4_noise_p30r_1.wav\n")
    sound(tmp_path / "RIRS_NOISES/pointsource_noises/noise-free-sound-0000.wav", 0.75)
    (tmp_path / "RIRS_NOISES/pointsource_noises/noise_list").touch()
    return tmp_path


def test_musan_by_hand(corpora, caplog):
    musan(corpora, corpora / "data")
    noise = corpora / "data/musan_noise"
    assert lines(noise / "wav.scp") == [
        f"noise-free-sound-0000 {corpora}/musan/noise/free-sound/noise-free-sound-0000.wav",
        f"noise-free-sound-0001 {corpora}/musan/noise/free-sound/noise-free-sound-0001.wav",
        f"noise-sound-bible-0000 {corpora}/musan/noise/sound-bible/noise-sound-bible-0000.wav"]
    assert lines(noise / "utt2spk") == lines(noise / "spk2utt") == [
        f"{utt} {utt}" for utt in ("noise-free-sound-0000", "noise-free-sound-0001", "noise-sound-bible-0000")]
    assert lines(noise / "reco2dur") == lines(noise / "utt2dur") == [
        "noise-free-sound-0000 0.750", "noise-free-sound-0001 0.250", "noise-sound-bible-0000 0.500"]
    assert lines(noise / "reco2num_channels")[0] == "noise-free-sound-0000 1"
    assert lines(noise / "left_out") == []
    assert not (noise / "utt2room").exists()
    assert lines(corpora / "data/musan_music/utt2dur") == ["music-fma-0000 1.000"]
    assert lines(corpora / "data/musan_speech/utt2dur") == ["speech-us-gov-0000 1.250"]
    assert f"{corpora}/musan/noise: 3 recordings, but MUSAN has 930; is it whole?" in caplog.text
    assert f"wrote 3 utterances of 3 speakers to {noise}" in caplog.text
    musan(corpora / "musan", corpora / "data")
    assert f"{noise} is current" in caplog.text


def test_rirs_by_hand(corpora, caplog):
    rirs(corpora, corpora / "data")
    small = corpora / "data/rirs_smallroom"
    root = corpora / "RIRS_NOISES"
    assert lines(small / "wav.scp") == [
        f"small-Room001-00001 {root}/simulated_rirs/smallroom/Room001/Room001-00001.wav",
        f"small-Room002-00001 {root}/simulated_rirs/smallroom/Room002/Room002-00001.wav"]
    assert lines(small / "utt2room") == ["small-Room001-00001 small-Room001", "small-Room002-00001 small-Room002"]
    assert lines(corpora / "data/rirs_largeroom/utt2room")[0] == "large-Room001-00001 large-Room001"
    real = corpora / "data/rirs_real"
    assert lines(real / "reco2num_channels") == ["RWCP_type4_rir_p30r 3", "air_type1_air_binaural_booth_0_1 1"]
    assert lines(real / "utt2room") == ["RWCP_type4_rir_p30r RWCP_p30r", "air_type1_air_binaural_booth_0_1 air_booth"]
    assert lines(real / "reco2dur") == ["RWCP_type4_rir_p30r 1.500", "air_type1_air_binaural_booth_0_1 0.250"]
    isotropic = corpora / "data/rirs_isotropic_noise"
    assert lines(isotropic / "utt2room") == ["RWCP_type4_noise_p30r_1 RWCP_p30r"]
    point = corpora / "data/rirs_pointsource_noise"
    assert lines(point / "utt2dur") == ["noise-free-sound-0000 0.750"]
    assert "1 of them have several channels, as reco2num_channels says: choose one with --channel" in caplog.text
    assert not any(lines(folder / "left_out") for folder in (small, real, isotropic, point))
    for folder in (small, real, isotropic, point):
        assert DataDir(folder).table("wav.scp").keys() == DataDir(folder).table("utt2dur").keys()


def test_what_does_not_fit_is_named(corpora, caplog):
    sound(corpora / "musan/noise/free-sound/a name.wav")
    sound(corpora / "musan/noise/free-sound/more/noise.wav")
    sound(corpora / "RIRS_NOISES/simulated_rirs/smallroom/Room001/Room002-00009.wav")
    sound(corpora / REAL / "unlisted.wav")
    sound(corpora / "RIRS_NOISES/pointsource_noises/a name.wav")
    musan(corpora, corpora / "data")
    rirs(corpora, corpora / "data")
    left_out = {folder: [line.partition("\t")[0].strip("'") for line in lines(corpora / f"data/{folder}/left_out")]
                for folder in ("musan_noise", "rirs_smallroom", "rirs_real", "rirs_pointsource_noise")}
    assert left_out == {
        "musan_noise": ["noise/free-sound/a name.wav", "noise/free-sound/more/"],
        "rirs_smallroom": ["simulated_rirs/smallroom/Room001/Room002-00009.wav"],
        "rirs_real": ["real_rirs_isotropic_noises/unlisted.wav"],
        "rirs_pointsource_noise": ["pointsource_noises/a name.wav"]}
    assert "left out 2 files that are not noise/SOURCE/NAME.wav ('noise/free-sound/a name.wav', " in caplog.text


@pytest.mark.parametrize(("content", "reason"), [(b"RIFF", "unreadable, "), (None, "no samples")])
def test_a_damaged_recording_is_refused(corpora, content, reason):
    path = corpora / "musan/noise/free-sound/noise-free-sound-0001.wav"
    sound(path, 0)
    if content:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"1 of 3 recordings cannot be used \(noise-free-sound-0001\); the first, noise/"
                                        rf"free-sound/noise-free-sound-0001.wav: {reason}.*; unpack the corpus"):
        musan(corpora, corpora / "data")
    assert not (corpora / "data/musan_noise/wav.scp").exists()


@pytest.mark.parametrize(("file", "text", "message"), [
    (f"{REAL}/rir_list", None, "rir_list: no such file"),
    (f"{REAL}/rir_list", "--rir-id 1 --room-id r RIRS_NOISES/real_rirs_isotropic_noises/gone.wav\n",
     r"rir_list: 1 of the files that it names are not there \(real_rirs_isotropic_noises/gone.wav\); unpack"),
    (f"{REAL}/noise_list", "\n", r'noise_list:1: "" does not say --room-id or --room-linkage and, last, a wav file'),
    (f"{REAL}/noise_list", "--noise-id 1 x.wav\n", r'noise_list:1: "--noise-id 1 x.wav" does not say --room-id'),
    ("RIRS_NOISES/simulated_rirs/largeroom/rir_list",
     "--rir-id 1 --room-id r RIRS_NOISES/simulated_rirs/largeroom/Room001/Room001-00002.wav\n",
     r"rir_list: 1 of the files that it names are not there \(simulated_rirs/largeroom/Room001/Room001-00002.wav\)"),
])
def test_what_is_refused_of_a_list(corpora, file, text, message):
    if text is None:
        (corpora / file).unlink()
    else:
        (corpora / file).write_text(text)
    with pytest.raises(UserError, match=message):
        rirs(corpora, corpora / "data")


@pytest.mark.parametrize(("make", "archive", "message"), [
    (musan, None, "{root}: without noise, music, speech; give the folder musan"),
    (musan, "musan.tar.gz", "{root}: still packed (musan.tar.gz); unpack with: cd {root} && tar xzf musan.tar.gz"),
    (rirs, None, "{root}: without simulated_rirs, real_rirs_isotropic_noises, pointsource_noises; give the folder RI"),
    (rirs, "rirs_noises.zip",
     "{root}: still packed (rirs_noises.zip); unpack with: cd {root} && unzip -q rirs_noises.zip")])
def test_a_corpus_that_is_not_there_or_packed(tmp_path, make, archive, message):
    if archive:
        (tmp_path / archive).touch()
    with pytest.raises(UserError) as refused:
        make(tmp_path, tmp_path / "data")
    assert message.format(root=tmp_path) in str(refused.value)


def test_a_kind_without_recordings_is_refused(corpora):
    (corpora / "musan/speech/us-gov/speech-us-gov-0000.wav").unlink()
    with pytest.raises(UserError, match="musan: no file that is speech/SOURCE/NAME.wav; unpack the corpus again"):
        musan(corpora, corpora / "data")


@pytest.mark.parametrize("n_written", [0, 20, 45])          # of the 53 files of six directories
def test_killed_and_resumed_equals_never_stopped(corpora, monkeypatch, n_written):
    rirs(corpora, corpora / "whole")
    with interrupted_after(monkeypatch, n_written):
        make_rirs.main.callback(False, corpora, corpora / "data")
    rirs(corpora, corpora / "data")
    assert tree(corpora / "data") == tree(corpora / "whole")
