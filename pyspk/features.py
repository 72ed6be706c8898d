"""Log-mel filter banks and the energy VAD, as Kaldi defines them, from options in Kaldi's own conf files."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.text import read_text

_LOG_FLOOR = float(np.finfo(np.float32).eps)     # Kaldi's floor for an energy before its logarithm


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


# Kaldi's name -> (where kaldi-native-fbank keeps it, how its value is read)
_FBANK_OPTIONS: dict[str, tuple[str, Callable]] = {
    "sample-frequency": ("frame_opts.samp_freq", float),
    "frame-length": ("frame_opts.frame_length_ms", float),
    "frame-shift": ("frame_opts.frame_shift_ms", float),
    "dither": ("frame_opts.dither", float),
    "preemphasis-coefficient": ("frame_opts.preemph_coeff", float),
    "remove-dc-offset": ("frame_opts.remove_dc_offset", _boolean),
    "window-type": ("frame_opts.window_type", str),
    "round-to-power-of-two": ("frame_opts.round_to_power_of_two", _boolean),
    "blackman-coeff": ("frame_opts.blackman_coeff", float),
    "snip-edges": ("frame_opts.snip_edges", _boolean),
    "num-mel-bins": ("mel_opts.num_bins", int),
    "low-freq": ("mel_opts.low_freq", float),
    "high-freq": ("mel_opts.high_freq", float),
    "vtln-low": ("mel_opts.vtln_low", float),
    "vtln-high": ("mel_opts.vtln_high", float),
    "htk-compat": ("htk_compat", _boolean),
    "use-energy": ("use_energy", _boolean),
    "energy-floor": ("energy_floor", float),
    "raw-energy": ("raw_energy", _boolean),
    "use-log-fbank": ("use_log_fbank", _boolean),
    "use-power": ("use_power", _boolean),
}
_VAD_OPTIONS = {"vad-energy-threshold": (5.0, float), "vad-energy-mean-scale": (0.5, float),
                "vad-frames-context": (0, int), "vad-proportion-threshold": (0.6, float)}


class Fbank:
    """Log-mel filter banks: samples (S,) float32 on the int16 scale to features (T, F) float32.

    conf: Kaldi's options by name without dashes in front, as `read_conf` gives them. Defaults are Kaldi's, but 80 bins
    and dither 0, so that features are the same each time. When dither is asked for it is Gaussian noise of that
    standard deviation on the samples, seeded by the utterance's name; Kaldi draws it anew for each frame.
    Raises UserError for an unknown option or a value that does not fit.
    """

    def __init__(self, conf: dict[str, str]):
        import kaldi_native_fbank as knf

        conf = {"num-mel-bins": "80", "dither": "0", **conf}
        self._options = knf.FbankOptions()
        for name, text in conf.items():
            if name not in _FBANK_OPTIONS:
                raise UserError(f"--{name}: not an fbank option; the options are {_listed(_FBANK_OPTIONS)}")
            attribute, convert = _FBANK_OPTIONS[name]
            _set(self._options, attribute, _converted(name, text, convert))
        frame = self._options.frame_opts
        self.rate_hz = int(frame.samp_freq)
        self.frame_shift_ms = frame.frame_shift_ms
        self._dither, frame.dither = frame.dither, 0.0
        self._online = knf.OnlineFbank
        if not (frame.samp_freq >= 1000 and frame.frame_shift_ms >= 1 and frame.frame_length_ms >= 1):
            raise UserError(f"--sample-frequency={frame.samp_freq:g} --frame-length={frame.frame_length_ms:g} "
                            f"--frame-shift={frame.frame_shift_ms:g}: at least 1000 Hz, 1 ms and 1 ms")
        if frame.window_type not in ("hamming", "hanning", "povey", "rectangular", "blackman", "sine"):
            raise UserError(f"--window-type={frame.window_type}: the windows are hamming, hanning, povey, rectangular, "
                            "blackman and sine")
        mel, nyquist = self._options.mel_opts, frame.samp_freq / 2
        high = mel.high_freq if mel.high_freq > 0 else nyquist + mel.high_freq
        if not (mel.num_bins >= 3 and 0 <= mel.low_freq < high <= nyquist):
            raise UserError(f"--num-mel-bins={mel.num_bins} --low-freq={mel.low_freq:g} --high-freq={mel.high_freq:g}: "
                            f"it takes 3 bins or more between 0 and {nyquist:g} Hz")
        try:
            self._online(self._options)
        except (RuntimeError, ValueError) as fault:      # more bins than the spectrum has places for
            raise UserError(f"these fbank options do not go together: {str(fault).splitlines()[0]}") from None

    def __call__(self, samples: np.ndarray, utt: str = "") -> np.ndarray:
        """Features (T, F) of one utterance. Raises UserError when it is shorter than one frame."""
        if self._dither:
            noise = np.random.default_rng(zlib.crc32(utt.encode())).standard_normal(len(samples), dtype=np.float32)
            samples = samples + self._dither * noise
        online = self._online(self._options)
        online.accept_waveform(self.rate_hz, samples)
        online.input_finished()
        if online.num_frames_ready == 0:
            self._refuse(samples)
        return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])

    def _refuse(self, samples: np.ndarray) -> NoReturn:
        raise UserError(f"{len(samples)} samples are shorter than one frame of "
                        f"{self._options.frame_opts.frame_length_ms:g} ms; leave this utterance out")

    def log_energy(self, samples: np.ndarray) -> np.ndarray:
        """Natural log of each frame's energy, (T,) float32, before pre-emphasis and window: Kaldi's raw energy.

        The frames are those of `__call__`: same length, shift and edges.
        """
        frame = self._options.frame_opts
        length = int(self.rate_hz * 0.001 * frame.frame_length_ms)
        shift = int(self.rate_hz * 0.001 * frame.frame_shift_ms)
        samples = samples.astype(np.float64)
        if len(samples) < (length if frame.snip_edges else shift - shift // 2):
            self._refuse(samples)
        if not frame.snip_edges:
            n_frames = (len(samples) + shift // 2) // shift
            left = (length - shift) // 2
            right = max(0, (n_frames - 1) * shift - left + length - len(samples))
            samples = np.pad(samples, (left, right), mode="symmetric")
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::shift]     # (T, length)
        if not frame.snip_edges:
            frames = frames[:n_frames]
        energy = np.einsum("tl,tl->t", frames, frames)
        if frame.remove_dc_offset:
            energy = energy - frames.sum(axis=1) ** 2 / length
        return np.log(np.maximum(energy, _LOG_FLOOR)).astype(np.float32)


class EnergyVad:
    """Kaldi's energy VAD (ivector/voice-activity-detection.cc): log energies (T,) to decisions (T,) of 0.0 and 1.0.

    A frame is voiced when, of the frames within `vad-frames-context` of it, at least `vad-proportion-threshold` have a
    log energy above `vad-energy-threshold` + `vad-energy-mean-scale` * the utterance's mean log energy.
    Raises UserError for an unknown option or a value that does not fit.
    """

    def __init__(self, conf: dict[str, str]):
        values = {name: default for name, (default, _) in _VAD_OPTIONS.items()}
        for name, text in conf.items():
            if name not in _VAD_OPTIONS:
                raise UserError(f"--{name}: not a VAD option; the options are {_listed(_VAD_OPTIONS)}")
            values[name] = _converted(name, text, _VAD_OPTIONS[name][1])
        self._threshold, self._mean_scale, self._context, self._proportion = values.values()

    def __call__(self, log_energy: np.ndarray) -> np.ndarray:
        """Decisions (T,) float32 for log energies (T,)."""
        above = log_energy > self._threshold + self._mean_scale * log_energy.mean(dtype=np.float64)
        window = np.ones(2 * self._context + 1)
        n_above = np.convolve(above, window)[self._context:self._context + len(above)]
        n_seen = np.convolve(np.ones(len(above)), window)[self._context:self._context + len(above)]
        return (n_above >= n_seen * self._proportion).astype(np.float32)


def read_conf(path: str | Path) -> dict[str, str]:
    """Options of a Kaldi conf file, one `--name=value` a line, `#` for comments: name -> value.

    Raises UserError naming file and line for anything else, and for an option that comes twice.
    """
    conf: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, equals, value = line.removeprefix("--").partition("=")
        if not line.startswith("--") or not equals or not value.strip():
            raise UserError(f'{path}:{number}: "{line}" is not --name=value')
        name = name.strip().replace("_", "-")
        if name in conf:
            raise UserError(f"{path}:{number}: --{name} comes twice")
        conf[name] = value.strip()
    return conf


def _converted(name: str, text: str, convert: Callable) -> object:
    try:
        return convert(text)
    except ValueError:
        kind = {float: "a number", int: "a whole number", _boolean: "true or false"}[convert]
        raise UserError(f"--{name}={text}: its value must be {kind}") from None


def _set(options: object, attribute: str, value: object) -> None:
    *parents, last = attribute.split(".")
    for parent in parents:
        options = getattr(options, parent)
    setattr(options, last, value)


def _listed(options: dict) -> str:
    return ", ".join(f"--{name}" for name in sorted(options))
