"""Features against kaldi-native-fbank run bare, and the VAD against a naive loop from Kaldi's definition."""

import math

import kaldi_native_fbank as knf
import numpy as np
import pytest

from pyspk.errors import UserError
from pyspk.features import EnergyVad, Fbank, read_conf

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
    ({"sample-frequency": "0"}, "at least 1000 Hz"),
])
def test_a_wrong_fbank_option_is_named(conf, said):
    with pytest.raises(UserError, match=said):
        Fbank(conf)


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


def test_a_wrong_vad_option_is_named():
    with pytest.raises(UserError, match="--vad-threshold: not a VAD option; .*--vad-energy-threshold"):
        EnergyVad({"vad-threshold": "5"})


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


def test_silence_has_the_floor_as_energy():
    assert Fbank({}).log_energy(np.zeros(400, np.float32)).tolist() == [pytest.approx(math.log(1.1920929e-07))]
