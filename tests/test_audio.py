"""pyspk.audio: files, pipes and segments come back as the samples that were written."""

import numpy as np
import pytest
import soundfile

from pyspk.audio import load, read_utterance, resample, to_mono, utterance_reader
from pyspk.datadir import DataDir
from pyspk.errors import UserError


@pytest.fixture
def integers():
    """One second of noise at 16 kHz with both extremes, (16000,) int16."""
    samples = np.random.default_rng(0).integers(-32768, 32768, 16000).astype(np.int16)
    samples[:2] = -32768, 32767
    return samples


@pytest.fixture
def wav(tmp_path, integers):
    soundfile.write(tmp_path / "a b.wav", integers, 16000)
    return str(tmp_path / "a b.wav")


def sine(hz, rate_hz, seconds, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff"])
def test_16_bit_pcm_comes_back_as_the_integers_that_were_written(tmp_path, integers, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, integers, 16000, subtype="PCM_16")
    samples, rate_hz = load(str(path))
    assert rate_hz == 16000 and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, integers)


@pytest.mark.parametrize(("suffix", "options", "noise"), [
    ("ogg", {"format": "OGG", "subtype": "VORBIS"}, 400), ("opus", {"format": "OGG", "subtype": "OPUS"}, 400),
    ("mp3", {"format": "MP3"}, 600), ("wav", {"subtype": "PCM_24"}, 0.01), ("wav", {"subtype": "FLOAT"}, 0.01),
    ("gsm", {"format": "RAW", "subtype": "GSM610"}, 3000)])
def test_every_format_comes_back_on_the_int16_scale(tmp_path, suffix, options, noise):
    rate_hz = 8000 if suffix == "gsm" else 16000
    wave = sine(300, rate_hz, 1)
    soundfile.write(tmp_path / f"x.{suffix}", wave, rate_hz, **options)
    samples, got_hz = load(str(tmp_path / f"x.{suffix}"))
    middle = slice(2000, 6000)
    assert got_hz == rate_hz
    assert np.sqrt(np.mean((samples[middle] - 32768 * wave[middle]) ** 2)) < noise


def test_a_pipe_is_run_by_bash_and_its_wav_read_even_with_the_length_that_streaming_programs_write(wav, integers):
    np.testing.assert_array_equal(load(f"cat '{wav}' |")[0], integers)
    np.testing.assert_array_equal(load(f"cat <(cat '{wav}') | ")[0], integers)
    unknown_length = r"printf '\xff\xff\xff\xff'"
    streamed = f"{{ head -c 40 '{wav}'; {unknown_length}; tail -c +45 '{wav}'; }} |"
    np.testing.assert_array_equal(load(streamed)[0], integers)
    np.testing.assert_array_equal(load(f"cat '{wav}' |", 0.5, 0.75)[0], integers[8000:12000])


@pytest.mark.parametrize("options", [
    {"format": "WAV"}, {"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3"}])
def test_a_segment_equals_the_same_part_of_the_whole(tmp_path, integers, options):
    path = str(tmp_path / "x")
    soundfile.write(path, np.tile(integers, 3) // 4, 16000, **options)
    whole, _ = load(path)
    np.testing.assert_array_equal(load(path, 1.25, 2.0)[0], whole[20000:32000])
    np.testing.assert_array_equal(load(path, 0.5)[0], whole[8000:])


def test_a_segment_of_gsm_which_cannot_seek_is_decoded_from_the_beginning(tmp_path):
    path = str(tmp_path / "x.gsm")
    soundfile.write(path, sine(300, 8000, 2), 8000, format="RAW", subtype="GSM610")
    np.testing.assert_array_equal(load(path, 1.0, 1.5)[0], load(path)[0][8000:12000])


def test_only_the_segment_is_decoded(tmp_path, monkeypatch):
    path = str(tmp_path / "long.wav")
    soundfile.write(path, np.zeros(160000, np.int16), 16000)
    lengths = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read",
                        lambda self, frames=-1, **rest: lengths.append(frames) or read(self, frames, **rest))
    load(path, 5.0, 5.5)
    assert lengths == [8000]


def test_the_end_of_a_segment_may_be_half_a_second_late_as_in_kaldi(wav, integers):
    np.testing.assert_array_equal(load(wav, 0.5, 1.4)[0], integers[8000:])


@pytest.mark.parametrize(("start_s", "end_s"), [(0.5, 1.6), (1.0, 1.2), (0.7, 0.7), (-0.1, 0.5), (3.0, None)])
def test_a_segment_outside_the_recording_is_refused_with_the_length(wav, start_s, end_s):
    with pytest.raises(UserError, match=r"a b.wav: the segment from .* is not inside the recording of 1.000 s; mend"):
        load(wav, start_s, end_s)


def test_to_mono_takes_the_channel_or_the_mean():
    stereo = np.array([[1, 3], [2, 6]], np.float32)
    np.testing.assert_array_equal(to_mono(stereo, 0), [1, 2])
    np.testing.assert_array_equal(to_mono(stereo, "1"), [3, 6])
    np.testing.assert_array_equal(to_mono(stereo, "mix"), [2, 4])
    np.testing.assert_array_equal(to_mono(stereo[:, 0]), [1, 2])
    np.testing.assert_array_equal(to_mono(stereo[:, 0], "mix"), [1, 2])


def test_resampling_keeps_a_tone_and_its_level():
    got = resample(sine(440, 44100, 1).astype(np.float32), 44100, 16000)
    assert len(got) == 16000 and got.dtype == np.float32
    np.testing.assert_allclose(got[500:-500], sine(440, 16000, 1)[500:-500], atol=1e-3)
    same = np.ones(5, np.float32)
    assert resample(same, 8000, 8000) is same


def test_read_utterance_converts_when_it_is_told_to(tmp_path):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, np.stack([sine(440, 8000, 2), sine(440, 8000, 2)], axis=1), 8000, subtype="PCM_16")
    got = read_utterance(path, 16000, resample=True, channel="mix", start_s=1.0, end_s=1.5)
    assert got.shape == (8000,) and got.dtype == np.float32
    np.testing.assert_allclose(got[500:-500], 32768 * sine(440, 16000, 0.5)[500:-500], atol=60)
    np.testing.assert_array_equal(read_utterance(path, 8000, channel=0), load(path)[0][:, 0])


def test_another_rate_is_refused_with_the_option_that_settles_it(wav):
    with pytest.raises(UserError, match=r"a b.wav: 16000 Hz, but 8000 Hz is wanted; convert it with --resample true"):
        read_utterance(wav, 8000)


@pytest.mark.parametrize(("channel", "message"), [
    (None, r"has 3 channels; choose with --channel 0\|1\|2\|mix"), (3, 'has no channel "3"; choose'),
    ("left", 'has no channel "left"; choose'), (-1, 'has no channel "-1"; choose')])
def test_several_channels_are_refused_with_the_option_that_settles_it(tmp_path, channel, message):
    soundfile.write(tmp_path / "x.wav", np.zeros((800, 3)), 8000)
    with pytest.raises(UserError, match=rf"x.wav: {message}"):
        read_utterance(str(tmp_path / "x.wav"), 8000, channel=channel)


@pytest.mark.parametrize(("rxfilename", "message"), [
    ("{0}/none.wav", "none.wav: no such file"), ("{0}", "no such file"),
    ("{0}/text.wav", r"text.wav: not readable as audio \(Format not recognised.\); convert it to wav or flac"),
    ("{0}/empty.wav", "empty.wav: no samples; leave it out"),
    ("{0}/half.mp3", r"half.mp3: ends after .* s of the 4.000 s that its header promises"),
    ("echo first >&2; echo the reason >&2; exit 3 |", r"the command failed \(exit 3\): the reason$"),
    ("false |", r"false \|: the command failed \(exit 1\): no message"),
    ("nosuchprogram x.wav |", "exit 127.*: bash: .*nosuchprogram.*not found"),
    ("cat {0}/none.wav | cat |", "exit 1.*No such file"), ("echo text |", "not readable as audio")])
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path, rxfilename, message):
    (tmp_path / "text.wav").write_text("hello\n")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "whole.mp3", sine(300, 16000, 4), 16000)
    content = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "half.mp3").write_bytes(content[:len(content) // 2])
    with pytest.raises(UserError, match=message):
        load(rxfilename.format(tmp_path))


def test_segments_of_a_pipe_share_one_run_of_its_command(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.arange(16000, dtype=np.int16), 16000)
    (tmp_path / "wav.scp").write_text(f"rec echo run >> {tmp_path}/runs; cat {tmp_path}/a.wav |\n")
    (tmp_path / "utt2spk").write_text("s-1 s\ns-2 s\n")
    (tmp_path / "segments").write_text("s-1 rec 0 0.25\ns-2 rec 0.5 1\n")
    read = utterance_reader(DataDir(tmp_path), 16000)
    np.testing.assert_array_equal(read("s-1"), np.arange(4000))
    np.testing.assert_array_equal(read("s-2"), np.arange(8000, 16000))
    assert (tmp_path / "runs").read_text() == "run\n"
