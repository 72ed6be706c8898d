"""What is done to many waves at once equals what is done to each: fbank of kaldi-native-fbank, noise and rooms."""

import os

import numpy as np
import pytest
import soundfile
import torch
from augmentation import room
from conftest import RATE_HZ, ROOT, voice

from pyspk.augment import batched, effects
from pyspk.errors import UserError
from pyspk.features import Fbank
from pyspk.features.batched import BatchedFbank

REAL_SPEECH = os.environ.get("REAL_SPEECH", ROOT.parent / "shared" / "data" / "librispeech_251")
N_REAL = 20
NOISE = (np.random.default_rng(0).normal(0, 900, 8000) + 40).astype(np.float32)
CLEAR_DB = 70      # so far below a frame's loudest frequency rounding errors of float32 do not reach 1e-3


def both(samples, conf):
    """Features of Fbank, which is kaldi-native-fbank, and of BatchedFbank, each (T, F)."""
    module = BatchedFbank(conf).eval()
    got = module(torch.from_numpy(samples.astype(np.float32))[None])[0].numpy()
    wanted = Fbank(conf)(samples.astype(np.float32))
    assert got.shape == wanted.shape and got.dtype == np.float32 and module.dim == got.shape[1]
    return wanted, got


def is_clear(samples, feats):
    """Where features (T, F) stand at most CLEAR_DB below the loudest frequency of their frame: default options."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(float), 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.hstack([frames[:, :1], frames[:, :-1]])
    angle = 2 * np.pi * np.arange(400) / 399
    loudest = (np.abs(np.fft.rfft(frames * (0.5 - 0.5 * np.cos(angle)) ** 0.85, 512)) ** 2).max(axis=1)
    return feats > np.log(loudest + 1e-9)[:, None] - CLEAR_DB * np.log(10) / 10


@pytest.mark.parametrize("conf", [
    {}, *({"window-type": kind} for kind in ("hamming", "hanning", "povey", "rectangular", "blackman", "sine")),
    {"window-type": "blackman", "blackman-coeff": "0.4"}, {"snip-edges": "false"}, {"use-power": "false"},
    {"use-energy": "true"}, {"use-energy": "true", "raw-energy": "false"}, {"use-energy": "true", "htk-compat": "true"},
    {"use-energy": "true", "energy-floor": "1e9"}, {"round-to-power-of-two": "false"}, {"remove-dc-offset": "false"},
    {"preemphasis-coefficient": "0"}, {"low-freq": "64", "high-freq": "-200", "num-mel-bins": "23"},
    {"high-freq": "7600", "vtln-low": "60", "vtln-high": "7000", "debug-mel": "false"},
    {"frame-length": "16", "frame-shift": "20", "num-mel-bins": "20", "snip-edges": "false"},
    {"sample-frequency": "8000", "num-mel-bins": "40"}, {"sample-frequency": "44100", "snip-edges": "false"},
])
def test_each_option_does_what_it_does_in_kaldi_native_fbank(conf):
    wanted, got = both(NOISE, conf)
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_energies_without_a_logarithm():
    wanted, got = both(NOISE, {"use-log-fbank": "false"})
    np.testing.assert_allclose(got, wanted, rtol=1e-3)


@pytest.mark.parametrize("snip_edges", ["true", "false"])
@pytest.mark.parametrize("samples", [
    np.zeros(4000), np.full(4000, 12345), np.rint(NOISE / 1000), np.clip(100 * NOISE, -32768, 32767), NOISE / 1e6,
    NOISE + 20000], ids=["silent", "constant", "quiet", "clipped", "below one step", "off zero"])
def test_silence_and_extremes(samples, snip_edges):
    wanted, got = both(samples, {"snip-edges": snip_edges})
    np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_beside_a_tone_only_what_float32_can_tell():
    tone = 20000 * np.sin(2 * np.pi * 1000 * np.arange(8000) / RATE_HZ)
    wanted, got = both(tone, {})
    clear = is_clear(tone, wanted)
    assert 0.05 < clear.mean() < 0.9
    np.testing.assert_allclose(got[clear], wanted[clear], atol=1e-3)
    np.testing.assert_allclose(got, wanted, atol=0.1)


def test_real_speech():
    paths = sorted(path for kind in ("flac", "wav") for path in ROOT.joinpath(REAL_SPEECH).rglob(f"*.{kind}"))
    if not paths:
        pytest.skip(f"no recordings in {REAL_SPEECH}; REAL_SPEECH names another folder of 16 kHz speech")
    off, n_clear, n_values = [], 0, 0
    for path in paths[::-(-len(paths) // N_REAL)]:
        samples = soundfile.read(path, dtype="int16")[0].astype(np.float32)
        wanted, got = both(samples, {})
        clear = is_clear(samples, wanted)
        np.testing.assert_allclose(got[clear], wanted[clear], atol=1e-3)
        off.append(np.abs(got - wanted)[~clear])
        n_clear, n_values = n_clear + clear.sum(), n_values + clear.size
    off = np.concatenate(off)
    assert n_clear > 0.995 * n_values                                   # nearly all is within 1e-3 by the line above
    assert (off > 1e-3).sum() < 1e-4 * n_values and off.max() < 0.05


@pytest.mark.parametrize("snip_edges", ["true", "false"])
def test_waves_of_different_lengths_and_any_frames_of_them(snip_edges):
    conf = {"snip-edges": snip_edges}
    lengths = [8000, 5123, 400] if snip_edges == "true" else [8000, 5123, 90]        # 90: mirrored again and again
    waves = torch.full((3, 8192), 9999.0)                                            # what stands behind is not heard
    frames = torch.tensor([[0, 47, 7, 7], [29, 0, 1, 28], [0, 0, 0, 0]])
    for wave, length in zip(waves, lengths, strict=True):
        wave[:length] = torch.from_numpy(NOISE[:length])
    got = BatchedFbank(conf)(waves, frames, torch.tensor(lengths))
    for i, length in enumerate(lengths):
        np.testing.assert_allclose(got[i], Fbank(conf)(NOISE[:length])[frames[i]], atol=1e-3)


def test_int16_and_autocast_change_nothing():
    module, samples = BatchedFbank({"use-energy": "true"}), torch.from_numpy(np.rint(NOISE)).reshape(2, 4000)
    wanted = module(samples)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(samples.to(torch.int16))
    assert got.dtype == torch.float32 and torch.equal(got, wanted)


def test_dither_is_drawn_in_training_only():
    module, silence = BatchedFbank({"dither": "2", "use-energy": "true"}), torch.zeros(4, 16000)
    first, second = module(silence), module(silence)
    assert not torch.equal(first, second)
    # 400 samples of variance 4 without their mean: energy 4 * 399
    assert first[..., 0].exp().mean().item() == pytest.approx(4 * 399, rel=0.03)
    module.eval()
    assert torch.equal(module(silence), BatchedFbank({"use-energy": "true"})(silence))


def test_there_is_nothing_to_train_or_to_save():
    module = BatchedFbank({})
    assert not list(module.parameters()) and not module.state_dict()


@pytest.mark.parametrize(("conf", "said"), [
    ({"num-bins": "3"}, "--num-bins: not an fbank option"), ({"window-type": "kaiser"}, "the windows are hamming, "),
    ({"round-to-power-of-two": "false", "frame-length": "25.0625"}, "these options do not go together: .*even"),
])
def test_a_wrong_option_is_named(conf, said):
    with pytest.raises(UserError, match=said):
        BatchedFbank(conf)


def test_too_short_a_wave_is_refused():
    with pytest.raises(UserError, match="399 samples are shorter than one frame of 25 ms"):
        BatchedFbank({})(torch.zeros(2, 399))


# ---- noise and rooms

LENGTHS = [16000, 12345, 700]


def ragged(pieces):
    rows = torch.zeros(len(pieces), max(map(len, pieces)))
    for row, piece in zip(rows, pieces, strict=True):
        row[:len(piece)] = torch.from_numpy(piece)
    return rows


def speech():
    return [voice(i, 0, 1.0).astype(np.float32)[:n] for i, n in enumerate(LENGTHS)]


def assert_equal(got, wanted):
    """Rows (B, S) against arrays: to 1e-4 of each one's root mean square, and zeros behind."""
    for row, one in zip(got.numpy(), wanted, strict=True):
        assert np.abs(row[:len(one)] - one).max() < 1e-4 * np.sqrt(np.mean(one.astype(float) ** 2))
        assert not row[len(one):].any()


def test_noise_is_added_as_to_each():
    rng = np.random.default_rng(1)
    noises, ratios = [rng.normal(0, 10.0 ** i, n).astype(np.float32) for i, n in enumerate(LENGTHS)], [0.0, 7.3, 20.0]
    got = batched.add_noise(ragged(speech()), torch.tensor(LENGTHS), ragged(noises), torch.tensor(ratios))
    assert_equal(got, map(effects.add_noise, speech(), noises, ratios))


def test_rooms_are_those_of_each():
    rirs = [32767 * room(0.4).astype(np.float32), room(0.2, 1).astype(np.float32), np.array([0.1, -1, 0.5], np.float32)]
    direct = torch.tensor([effects.direct_path(rir) for rir in rirs])
    got = batched.reverberate(ragged(speech()), torch.tensor(LENGTHS), ragged(rirs), direct)
    assert_equal(got, map(effects.reverberate, speech(), rirs))


def test_silence_stays_silent():
    silence, lengths = torch.zeros(2, 1000), torch.tensor([1000, 500])
    assert not batched.add_noise(silence, lengths, torch.ones(2, 1000), torch.tensor([5.0, 5.0])).any()
    assert not batched.reverberate(silence, lengths, torch.ones(2, 30), torch.tensor([0, 3])).any()
