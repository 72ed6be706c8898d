"""Features against kaldi-native-fbank run bare and against the formulas, the VAD and CMVN against naive loops."""

import math

import kaldi_native_fbank as knf
import numpy as np
import pytest

from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank, Mfcc, add_deltas, configured, read_conf, sliding_cmvn, utterance_cmvn

SAMPLES = (np.random.default_rng(0).normal(0, 900, 16000) + 40).astype(np.float32)


def bare(set_options):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    set_options(options)
    online = knf.OnlineFbank(options)
    online.accept_waveform(options.frame_opts.samp_freq, SAMPLES.tolist())
    online.input_finished()
    return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])


def test_the_default_is_kaldis_with_80_bins_and_no_dither():
    got = Fbank({})(SAMPLES)
    assert got.shape == (98, 80) and got.dtype == np.float32        # 1 + (16000 - 400) // 160
    np.testing.assert_array_equal(got, bare(lambda options: None))


def test_options_reach_kaldi_native_fbank():
    def same(options):
        options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 23, 64.0, -200.0
        options.frame_opts.window_type, options.frame_opts.snip_edges = "hamming", False
        options.use_energy = True

    conf = {"num-mel-bins": "23", "low-freq": "64", "high-freq": "-200", "window-type": "hamming",
            "snip-edges": "false", "use-energy": "true"}
    np.testing.assert_array_equal(Fbank(conf)(SAMPLES), bare(same))


@pytest.mark.parametrize("snip_edges", ["true", "false"])
@pytest.mark.parametrize("n_samples", [400, 401, 559, 560, 561, 16000])
def test_log_energy_is_the_one_kaldi_puts_before_the_bins(snip_edges, n_samples):
    fbank = Fbank({"use-energy": "true", "snip-edges": snip_edges})
    np.testing.assert_allclose(fbank.log_energy(SAMPLES[:n_samples]), fbank(SAMPLES[:n_samples])[:, 0], atol=1e-5)


def test_log_energy_is_of_the_same_frames_where_the_shift_is_odd():
    fbank = Fbank({"use-energy": "true", "snip-edges": "false", "sample-frequency": "44100"})     # 1102 and 441 samples
    np.testing.assert_allclose(fbank.log_energy(SAMPLES), fbank(SAMPLES)[:, 0], atol=1e-5)


def test_dither_is_the_same_each_time_and_differs_by_utterance():
    fbank = Fbank({"dither": "1"})
    np.testing.assert_array_equal(fbank(SAMPLES, "u1"), fbank(SAMPLES, "u1"))
    assert (fbank(SAMPLES, "u1") != fbank(SAMPLES, "u2")).any()


@pytest.mark.parametrize(("conf", "said"), [
    ({"num-bins": "3"}, "--num-bins: not an fbank option; .*--num-mel-bins"), ({"num-mel-bins": "x"}, "a whole number"),
    ({"snip-edges": "yes"}, "true or false"), ({"low-freq": "low"}, "a number"),
    ({"window-type": "kaiser"}, "the windows are"),
    ({"high-freq": "20000"}, "between 0 and 8000 Hz"), ({"low-freq": "9000"}, "between 0 and 8000 Hz"),
    ({"num-mel-bins": "0"}, "3 bins or more"), ({"num-mel-bins": "500"}, "do not go together|3 bins"),
    ({"frame-shift": "0"}, "at least 1000 Hz, 1 ms"), ({"frame-length": "0"}, "at least"),
    ({"sample-frequency": "0"}, "at least 1000 Hz"), ({"sample-frequency": "nan"}, "a number"),
    ({"sample-frequency": "16000.5"}, "=16000.5: recordings have whole numbers"), ({"low-freq": "1e39"}, "a number"),
    ({"num-mel-bins": "9999999999"}, "=9999999999: its value must be a whole number"), ({"dither": "-1"}, "at least 0"),
    ({"preemphasis-coefficient": "1.5"}, "=1.5: at least 0, and from 0 to 1"), ({"dither": "inf"}, "a number"),
    ({"num-ceps": "13"}, "--num-ceps: not an fbank option"),
    ({"allow-downsample": "true"}, "--allow-downsample: not an fbank option; --resample true .*, so remove this line"),
])
def test_a_wrong_fbank_option_is_named(conf, said):
    with pytest.raises(UserError, match=said):
        Fbank(conf)


def mel(hz):
    return 1127 * math.log(1 + hz / 700)


def naive_mfcc(samples, rate_hz=16000, bins=23, ceps=13, low=20.0, high=8000.0, lifter=22.0, energy="raw", htk=False):
    """MFCC from the formulas: Young et al., The HTK Book, chapter 5, with Kaldi's povey window and its mel scale."""
    length, shift, n_fft = rate_hz // 40, rate_hz // 100, 512
    step = (mel(high) - mel(low)) / (bins + 1)
    rows = []
    for start in range(0, len(samples) - length + 1, shift):
        frame = samples[start:start + length].astype(np.float64)
        frame = frame - frame.mean()
        log_energy = math.log(sum(frame ** 2))
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        frame = frame * [(0.5 - 0.5 * math.cos(2 * math.pi * n / (length - 1))) ** 0.85 for n in range(length)]
        if energy == "windowed":
            log_energy = math.log(sum(frame ** 2))
        power = np.abs(np.fft.rfft(frame, n_fft)) ** 2
        log_mel = []
        for m in range(bins):
            left, centre, right = (mel(low) + (m + i) * step for i in range(3))
            places = [mel(k * rate_hz / n_fft) for k in range(n_fft // 2)]
            weights = [max(0, min((x - left) / (centre - left), (right - x) / (right - centre))) for x in places]
            log_mel.append(math.log(sum(w * p for w, p in zip(weights, power, strict=False))))
        row = []
        for i in range(ceps):
            cosines = (log_mel[m] * math.cos(math.pi * i * (m + 0.5) / bins) for m in range(bins))
            c = math.sqrt((1 if i == 0 else 2) / bins) * sum(cosines)
            row.append(c * (1 + lifter / 2 * math.sin(math.pi * i / lifter)) if lifter else c)
        if energy:
            row[0] = log_energy
        if htk:
            row = [*row[1:], row[0] if energy else row[0] * math.sqrt(2)]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("conf", "same"), [
    ({}, {}),
    ({"use-energy": "false", "num-ceps": "30", "num-mel-bins": "30", "high-freq": "7600", "low-freq": "40"},
     {"energy": None, "ceps": 30, "bins": 30, "high": 7600.0, "low": 40.0}),
    ({"raw-energy": "false", "cepstral-lifter": "0", "high-freq": "-400"},
     {"energy": "windowed", "lifter": 0, "high": 7600.0}),
    ({"htk-compat": "true"}, {"htk": True}),
    ({"htk-compat": "true", "use-energy": "false"}, {"htk": True, "energy": None}),
])
def test_mfcc_equals_the_formulas(conf, same):
    samples = SAMPLES[:2000]
    got, wanted = Mfcc(conf)(samples), naive_mfcc(samples, **same)
    assert got.shape == wanted.shape and got.dtype == np.float32 and Mfcc(conf).dim == wanted.shape[1]
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_the_energy_floor_is_the_least_energy():
    assert Mfcc({"energy-floor": "1e12"})(SAMPLES[:400])[0, 0] == pytest.approx(math.log(1e12), rel=1e-6)


@pytest.mark.parametrize(("conf", "said"), [
    ({"use-power": "true"}, "--use-power: not an MFCC option; the options are .*--cepstral-lifter, .*--num-ceps"),
    ({"num-ceps": "24"}, "--num-ceps=24: between 1 and --num-mel-bins=23"),
    ({"num-ceps": "0"}, "--num-ceps=0: between 1 and"), ({"num-ceps": "13.5"}, "--num-ceps=13.5: .* a whole number"),
    ({"subtract-mean": "true"}, "apply_cmvn.py does that, so remove this line"),
])
def test_a_wrong_mfcc_option_is_named(conf, said):
    with pytest.raises(UserError, match=said):
        Mfcc(conf)


def test_deltas_equal_the_values_worked_out_by_hand():
    feats = np.array([[1, 10], [2, 20], [4, 40]], np.float32)
    # window 1: the weights are (-1/2, 0, 1/2), and (1/4, 0, -1/2, 0, 1/4) for the second order
    assert add_deltas(feats, order=2, window=1).tolist() == [
        [1, 10, 0.5, 5, 0.75, 7.5], [2, 20, 1.5, 15, 0.25, 2.5], [4, 40, 1, 10, -0.75, -7.5]]
    line = np.arange(20, dtype=np.float32)[:, None]
    wanted = np.stack([line[4:-4, 0], np.ones(12), np.zeros(12)], axis=1)
    np.testing.assert_allclose(add_deltas(line)[4:-4], wanted, atol=1e-6)


@pytest.mark.parametrize(("order", "window", "n_frames"), [(0, 2, 5), (1, 3, 4), (2, 2, 1), (2, 2, 30), (3, 1, 7)])
def test_deltas_equal_kaldi_native_fbanks(order, window, n_frames):
    if not hasattr(knf, "compute_deltas"):
        pytest.skip("this kaldi-native-fbank has no deltas")
    feats = np.random.default_rng(3).normal(size=(n_frames, 4)).astype(np.float32)
    wanted = knf.compute_deltas(knf.DeltaOptions(order=order, window=window), feats)
    np.testing.assert_allclose(add_deltas(feats, order, window), wanted, atol=1e-5)


def naive_sliding_cmvn(feats, size, min_size, center, norm_vars):
    """Frame by frame, as the documentation of Kaldi's apply-cmvn-sliding says."""
    n, rows = len(feats), []
    for t in range(n):
        if center:
            first, last = t - size // 2, t - size // 2 + size
        else:
            first, last = t - size, t + 1
        if first < 0:
            first, last = 0, last - first
        if not center and last > t:
            last = max(t + 1, min_size)
        if last > n:
            first, last = max(0, first - (last - n)), n
        window = feats[first:last].astype(np.float64)
        row = feats[t] - window.mean(axis=0)
        if norm_vars:
            row = row / window.std(axis=0) if len(window) > 1 else 0 * row
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("norm_vars", [False, True])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize(("size", "min_size", "n_frames"), [
    (300, 100, 700), (300, 100, 301), (300, 100, 120), (5, 1, 40), (5, 3, 40), (6, 2, 40), (600, 100, 1), (1, 1, 9)])
def test_sliding_cmvn_equals_a_naive_loop(size, min_size, n_frames, center, norm_vars):
    feats = np.random.default_rng(4).normal(15, 2, (n_frames, 3)).astype(np.float32)
    got = sliding_cmvn(feats, size, min_size, center, norm_vars)
    assert got.dtype == np.float32
    # a window of one or two frames may have hardly any deviation to divide by
    np.testing.assert_allclose(got, naive_sliding_cmvn(feats, size, min_size, center, norm_vars), rtol=1e-4, atol=1e-5)


def test_sliding_cmvn_keeps_its_digits_over_hours():
    feats = np.random.default_rng(5).normal(1000, 1e-2, (360_000, 2)).astype(np.float32)
    got = sliding_cmvn(feats, 300, 100, center=True, norm_vars=True)
    window = feats[-300:].astype(np.float64)
    np.testing.assert_allclose(got[-1], (feats[-1] - window.mean(axis=0)) / window.std(axis=0), rtol=1e-4)


def test_a_constant_feature_stays_finite():
    for got in (sliding_cmvn(np.ones((50, 2), np.float32), norm_vars=True), utterance_cmvn(np.ones((50, 2)), True)):
        assert (got == 0).all()


def test_utterance_cmvn_gives_mean_0_and_deviation_1():
    feats = np.array([[1, 2], [3, 2], [5, 8]], np.float32)
    assert utterance_cmvn(feats).tolist() == [[-2, -2], [0, -2], [2, 4]]
    wanted = np.array([[-2, -2], [0, -2], [2, 4]]) / np.sqrt([8 / 3, 8])
    np.testing.assert_allclose(utterance_cmvn(feats, norm_vars=True), wanted, rtol=1e-6)


def test_too_short_an_utterance_is_named():
    with pytest.raises(UserError, match="399 samples are shorter than one frame of 25 ms"):
        Fbank({})(SAMPLES[:399])
    for snip_edges in ("true", "false"):
        with pytest.raises(UserError, match="79 samples are shorter than one frame"):
            Fbank({"snip-edges": snip_edges}).log_energy(SAMPLES[:79])


def naive_vad(log_energy, threshold, mean_scale, context, proportion):
    cut = threshold + mean_scale * sum(log_energy) / len(log_energy)
    decisions = []
    for t in range(len(log_energy)):
        near = [log_energy[s] for s in range(t - context, t + context + 1) if 0 <= s < len(log_energy)]
        decisions.append(float(sum(e > cut for e in near) >= len(near) * proportion))
    return decisions


@pytest.mark.parametrize("context", [0, 2, 5, 40])
@pytest.mark.parametrize("proportion", [0.12, 0.6])
def test_vad_equals_kaldis_definition(context, proportion):
    log_energy = np.random.default_rng(1).normal(11, 3, 50).astype(np.float32)
    vad = EnergyVad({"vad-energy-threshold": "5.5", "vad-frames-context": str(context),
                     "vad-proportion-threshold": str(proportion)})
    assert vad(log_energy).tolist() == naive_vad(log_energy.tolist(), 5.5, 0.5, context, proportion)


def test_vad_defaults_are_kaldis():
    log_energy = np.array([1, 20, 9.9, 10.1], dtype=np.float32)        # mean 10.25: the threshold is 5 + 5.125
    assert EnergyVad({})(log_energy).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("name", "text", "said"), [
    ("vad-threshold", "5", "--vad-threshold: not a VAD option; .*--vad-energy-threshold"),
    ("vad-energy-threshold", "nan", "its value must be a number"),
    ("vad-energy-mean-scale", "-0.5", "=-0.5 .*at least 0"),
    ("vad-frames-context", "-1", "context=-1 .*at least 0"), ("vad-frames-context", "2.0", "must be a whole number"),
    ("vad-proportion-threshold", "1", "=1: .*between 0 and 1"), ("vad-proportion-threshold", "0", "between 0 and 1"),
])
def test_a_wrong_vad_option_is_named(name, text, said):
    with pytest.raises(UserError, match=said):
        EnergyVad({name: text})


def test_kaldis_conf_files_are_read(tmp_path):
    conf = tmp_path / "fbank.conf"
    conf.write_text("# features\n--use-energy=false   # no energy\n\n--num_mel_bins=40\n")
    assert read_conf(conf) == {"use-energy": "false", "num-mel-bins": "40"}


@pytest.mark.parametrize(("text", "said"), [
    ("--dither\n", ":1: .*is not --name=value"), ("dither=1\n", "is not --name=value"), ("--dither=\n", "is not"),
    ("--dither=1\n--dither=2\n", ":2: --dither comes twice"),
])
def test_a_malformed_conf_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "x.conf").write_text(text)
    with pytest.raises(UserError, match=said):
        read_conf(tmp_path / "x.conf")


def test_what_is_made_of_a_conf_file_names_it(tmp_path):
    path = tmp_path / "fbank.conf"
    path.write_text("\ufeff--num-mel-bins=40\r\n")
    fbank, conf = configured(Fbank, path)
    assert (fbank.dim, conf) == (40, {"num-mel-bins": "40"})
    fbank, conf = configured(Fbank, None)
    assert (fbank.dim, conf) == (80, {})
    path.write_text("--num-mel-bins=forty\n")
    with pytest.raises(UserError, match="fbank.conf: --num-mel-bins=forty: its value must be a whole number"):
        configured(Fbank, path)


def test_silence_has_the_floor_as_energy():
    assert Fbank({}).log_energy(np.zeros(400, np.float32)).tolist() == [pytest.approx(math.log(1.1920929e-07))]
