"""pyspk.audio: files, pipes and segments come back as the samples that were written."""

import sys

import av
import numpy as np
import pytest
import soundfile

from pyspk.audio import Recording, load, read_utterance, resample, to_mono, utterance_reader
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


def write_mpeg4(path, wave, rate_hz, codec="aac", container="ipod", **options):
    """m4a (or raw aac, container "adts") of wave, (S,) or (S, C), by FFmpeg's own encoder."""
    planes = np.ascontiguousarray(np.atleast_2d(wave.T), dtype=np.float32)               # (C, S)
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = "mono" if len(planes) == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts = rate_hz, 0
        for part in (frame, None):
            for packet in stream.encode(part):
                file.mux(packet)


def sphere(coding, content, n_bytes, n_samples, order="01"):
    """A NIST SPHERE file: its header of 1024 bytes, one channel at 16 kHz, and the content."""
    fields = (f"channel_count -i 1\nsample_rate -i 16000\nsample_count -i {n_samples}\nsample_n_bytes -i {n_bytes}\n"
              f"sample_byte_format -s{len(order)} {order}\nsample_sig_bits -i {8 * n_bytes}\n"
              f"sample_coding -s{len(coding)} {coding}\nend_head\n")
    return f"NIST_1A\n   1024\n{fields}".encode().ljust(1024) + content


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_m4a_comes_back_in_time_and_at_its_level(tmp_path, options):
    wave = sine(300, 16000, 2)
    write_mpeg4(tmp_path / "x.m4a", wave, 16000, **options)
    for name in (f"{tmp_path}/x.m4a", f"cat {tmp_path}/x.m4a |"):
        samples, rate_hz = load(name)
        assert rate_hz == 16000 and samples.shape == (32000,) and samples.dtype == np.float32
        assert np.sqrt(np.mean((samples[2000:-2000] - 32768 * wave[2000:-2000]) ** 2)) < 30


def test_m4a_without_loss_comes_back_exactly_and_in_its_channels(tmp_path, integers):
    stereo = np.stack([integers, integers[::-1]], axis=1)
    write_mpeg4(tmp_path / "x.m4a", stereo / np.float32(32768), 16000, codec="alac", sample_fmt="s16p")
    samples, _ = load(str(tmp_path / "x.m4a"))
    np.testing.assert_allclose(samples, stereo, atol=0.01)


def test_raw_aac_is_read_and_its_segments_are_checked_against_the_end_that_is_found(tmp_path):
    write_mpeg4(tmp_path / "x.aac", sine(300, 16000, 2), 16000, container="adts")
    path = str(tmp_path / "x.aac")
    whole, _ = load(path)                          # the encoder's delay and padding: a raw stream does not tell them
    assert len(whole) == 33 * 1024
    np.testing.assert_allclose(load(path, 1.0, 1.5)[0], whole[16000:24000], atol=1e-3)
    with pytest.raises(UserError, match=r"x.aac: the segment from 5 s to 6 s is not inside the recording of 2.112 s"):
        load(path, 5, 6)


def test_sphere_comes_back_as_it_was_written(tmp_path, integers):
    (tmp_path / "little.sph").write_bytes(sphere("pcm", integers.astype("<i2").tobytes(), 2, 16000))
    (tmp_path / "big.sph").write_bytes(sphere("pcm", integers.astype(">i2").tobytes(), 2, 16000, order="10"))
    for name in ("little", "big"):
        np.testing.assert_array_equal(load(str(tmp_path / f"{name}.sph"))[0], integers)
    (tmp_path / "mu.sph").write_bytes(sphere("ulaw", bytes([0x00, 0x80, 0xFF, 0x0F, 0xF0]), 1, 5, order="1"))
    assert load(str(tmp_path / "mu.sph"))[0].tolist() == [-32124, 32124, 0, -16764, 120]      # ITU-T G.711, table 2a


def test_compressed_sphere_is_refused_with_the_program_that_expands_it(tmp_path):
    (tmp_path / "x.sph").write_bytes(sphere("pcm,embedded-shorten-v2.00", b"ajkg" + bytes(100), 2, 16000))
    with pytest.raises(UserError, match=r"x.sph: SPHERE compressed as pcm,embedded-shorten-v2.00, .*sph2pipe -f wav"):
        load(str(tmp_path / "x.sph"))


def test_a_missing_av_is_named(tmp_path, monkeypatch):
    write_mpeg4(tmp_path / "x.m4a", sine(300, 16000, 1), 16000)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"x.m4a: MPEG-4 audio .* needs the package av: pip install av"):
        load(str(tmp_path / "x.m4a"))


def test_mpeg4_that_is_cut_short_damaged_or_without_sound_is_named(tmp_path):
    write_mpeg4(tmp_path / "fast.m4a", np.random.default_rng(0).normal(0, 0.1, 64000), 16000, movflags="faststart")
    write_mpeg4(tmp_path / "slow.m4a", np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    with av.open(str(tmp_path / "video.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 16
        for part in (av.VideoFrame(16, 16, "yuv420p"), None):
            for packet in stream.encode(part):
                file.mux(packet)
    for name in ("fast", "slow"):
        content = (tmp_path / f"{name}.m4a").read_bytes()
        (tmp_path / f"{name}.m4a").write_bytes(content[:len(content) * 2 // 3])
    for name, said in (("fast.m4a", r"ends after .* of the 4.000 s that|not readable as audio \(Invalid data"),
                       ("slow.m4a", r"not readable as audio \(Invalid data.*\); convert it"),
                       ("video.mp4", "no audio in it; leave it out")):
        with pytest.raises(UserError, match=f"{name}: {said}"):
            load(str(tmp_path / name))


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
    ("{0}/none.wav", "none.wav: no such file"), ("{0}", "not a file"),
    ("{0}/" + "x" * 300, r"xxx: cannot be read \(File name too long\)"),
    ("{0}/text.wav", r"text.wav: not readable as audio \(Format not recognised.\); convert it to wav or flac"),
    ("{0}/text.m4a", r"text.m4a: not readable as audio \(Format not recognised.\)"),
    ("{0}/text.sph", r"text.sph: not readable as audio"),
    ("{0}/nothing.wav", "nothing.wav: empty, not a single byte; make it again"),
    ("true |", r"true \|: empty, not a single byte"),
    ("{0}/empty.wav", "empty.wav: no samples; leave it out"),
    ("{0}/half.mp3", r"half.mp3: ends after .* s of the 4.000 s that its header promises"),
    ("echo first >&2; echo the reason >&2; exit 3 |", r"the command failed \(exit 3\): the reason$"),
    ("false |", r"false \|: the command failed \(exit 1\): no message"),
    ("nosuchprogram x.wav |", "exit 127.*: bash: .*nosuchprogram.*not found"),
    ("cat {0}/none.wav | cat |", "exit 1.*No such file"), ("echo text |", "not readable as audio")])
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path, rxfilename, message):
    for name, text in (("text.wav", "hi"), ("text.m4a", "hi\n"), ("text.sph", "NIST_1A\n\n"), ("nothing.wav", "")):
        (tmp_path / name).write_text(text)
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


FORWARD = ["mp3", "m4a", "aac", "gsm", "pipe"]


@pytest.fixture
def ten_seconds(tmp_path, request):
    """An rxfilename for ten seconds of noise in the format of the parameter, none of which can seek."""
    wave = np.random.default_rng(1).normal(0, 0.1, 80000)
    path = tmp_path / f"x.{request.param}"
    if request.param in ("m4a", "aac"):
        write_mpeg4(path, wave, 8000, container="ipod" if request.param == "m4a" else "adts")
    elif request.param == "gsm":
        soundfile.write(path, wave, 8000, format="RAW", subtype="GSM610")
    else:
        soundfile.write(path, wave, 8000, format="MP3")
    return f"cat {path} |" if request.param == "pipe" else str(path)


def decoded_frames(monkeypatch):
    """Counts the samples that libsndfile and FFmpeg give from here on: a list to sum."""
    counts, read, resampled = [], soundfile.SoundFile.read, av.AudioResampler.resample

    class Counting:
        def __init__(self, **options):
            self._inner = av_resampler(**options)

        def resample(self, frame):
            counts.append(frame.samples)
            return resampled(self._inner, frame)

    def counted(self, *args, **options):
        samples = read(self, *args, **options)
        counts.append(len(samples))
        return samples

    av_resampler = av.AudioResampler
    monkeypatch.setattr(av, "AudioResampler", Counting)
    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    return counts


@pytest.mark.parametrize("ten_seconds", FORWARD, indirect=True)
def test_parts_that_follow_each_other_are_decoded_once(ten_seconds, monkeypatch):
    whole, _ = load(ten_seconds)
    counts = decoded_frames(monkeypatch)
    recording = Recording(ten_seconds)
    for start_s, end_s in ((0, 1), (1, 2.5), (2, 3.5), (2, 2.5), (5, 9), (6, 7), (9.5, 9.9)):   # gaps, overlaps, within
        np.testing.assert_array_equal(recording.part(start_s, end_s), whole[int(start_s * 8000):int(end_s * 8000)])
    assert sum(counts) <= len(whole) + 1024                                                # at most one frame too many


@pytest.mark.parametrize("ten_seconds", FORWARD, indirect=True)
def test_a_part_before_the_last_one_is_right_too(ten_seconds):
    whole, _ = load(ten_seconds)
    recording = Recording(ten_seconds)
    for start_s, end_s in ((8, 9), (1, 2), (0, 10), (3, 4), (0, 0.5)):
        np.testing.assert_array_equal(recording.part(start_s, end_s), whole[int(start_s * 8000):int(end_s * 8000)])
    for start_s, end_s in ((9.5, 12), (11, 11.4)):
        with pytest.raises(UserError, match="is not inside the recording of 10"):
            recording.part(start_s, end_s)
    np.testing.assert_array_equal(recording.part(4, 5), whole[32000:40000])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_that_ends_where_a_part_begins_is_named(tmp_path, subtype):
    soundfile.write(tmp_path / "x.flac", np.random.default_rng(1).normal(0, 0.1, 80000), 8000, subtype=subtype)
    content = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(content[:len(content) // 2])
    with pytest.raises(UserError, match=r"x\.flac: "):
        load(str(tmp_path / "x.flac"), 9, 9.5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_what_can_seek_decodes_the_parts_alone_in_any_order(tmp_path, monkeypatch, suffix):
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    path = str(tmp_path / f"x.{suffix}")
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 80000), 8000, **options)
    whole, _ = load(path)
    places = ((8, 9), (1, 2), (1.5, 3), (0, 0.5))
    alone = [load(path, *place)[0] for place in places]
    counts, recording = decoded_frames(monkeypatch), Recording(path)
    for place, same in zip(places, alone, strict=True):
        got = recording.part(*place)
        np.testing.assert_array_equal(got, same)
        np.testing.assert_allclose(got, whole[int(place[0] * 8000):int(place[1] * 8000)], atol=1)
    assert sum(counts) == 4 * 8000


def test_after_a_fault_the_next_part_is_right(tmp_path):
    path = tmp_path / "x.m4a"
    write_mpeg4(path, np.random.default_rng(0).normal(0, 0.1, 160000), 16000, movflags="faststart")
    whole, _ = load(str(path))
    content = path.read_bytes()
    path.write_bytes(content[:len(content) * 2 // 3])
    recording = Recording(str(path))
    np.testing.assert_array_equal(recording.part(1, 2), whole[16000:32000])
    with pytest.raises(UserError, match="x.m4a: (ends after|not readable)"):
        recording.part(3, 9.5)
    np.testing.assert_array_equal(recording.part(4, 5), whole[64000:80000])


@pytest.mark.parametrize(("subtype", "n_channels"), [("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 1)])
def test_a_wav_cut_short_is_named_and_one_written_into_a_pipe_is_not(tmp_path, subtype, n_channels):
    path, wave = tmp_path / "x.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (8000, n_channels))
    soundfile.write(path, wave, 8000, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    for part in ((None, None), (0.2, 0.9), (0.8, 0.9)):
        with pytest.raises(UserError, match=r"x.wav: ends after 0\.\d* s of the 1\.000 s that its header promises"):
            load(str(path), *part)
    assert len(load(str(path), 0.1, 0.3)[0]) == 1600
    place = content.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFFFFF + 1):                          # as sox and ffmpeg write them into a pipe
        path.write_bytes(content[:place] + size.to_bytes(4, "little") + content[place + 4:])
        assert len(load(str(path))[0]) == 8000


def one_utterance(folder, path, segment=""):
    """A data directory with one utterance u: the recording, or a segment of it."""
    (folder / "utt2spk").write_text("u s\n")
    (folder / "wav.scp").write_text(f"{'r' if segment else 'u'} {path}\n")
    if segment:
        (folder / "segments").write_text(f"u {segment}\n")
    return DataDir(folder)


@pytest.mark.parametrize(("samples", "said"), [
    (np.zeros(800), "x.wav: silent: all its samples are 0; leave it out"),
    (np.full(800, 0.5), "x.wav: clipped: all its samples are 16384; leave it out"),
    (np.r_[np.ones(5), np.nan, np.zeros(5)], "x.wav: sample 5 is nan, which no sound is; make it again"),
    (np.r_[0.0, 1.0, -np.inf, np.inf], "x.wav: sample 2 is -inf, which no sound is")])
def test_what_is_no_sound_is_named(tmp_path, samples, said):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=said):
        utterance_reader(one_utterance(tmp_path, path), 8000)("u")


def test_a_pause_within_a_recording_is_no_fault(tmp_path):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, np.r_[sine(300, 8000, 0.1), np.zeros(800)], 8000)
    assert not read_utterance(path, 8000, start_s=0.1, end_s=0.2).any()
    with pytest.raises(UserError, match="silent"):
        utterance_reader(one_utterance(tmp_path, path, "r 0.1 0.2"), 8000)("u")


def test_a_channel_of_silence_is_named_and_the_other_is_read(tmp_path):
    path = str(tmp_path / "x.wav")
    soundfile.write(path, np.stack([np.zeros(800), sine(300, 8000, 0.1)], axis=1), 8000)
    data = one_utterance(tmp_path, path)
    assert len(utterance_reader(data, 8000, channel=1)("u")) == 800
    with pytest.raises(UserError, match="silent"):
        utterance_reader(data, 8000, channel=0)("u")
