"""Log-mel filter banks and MFCCs, computed by kaldi-native-fbank, from options in Kaldi's own conf files."""

import zlib
from collections.abc import Callable, Mapping

import numpy as np

from pyspk.errors import UserError
from pyspk.features.conf import boolean, converted, number, unknown, whole_number
from pyspk.features.transforms import add_deltas

_LOG_FLOOR = float(np.finfo(np.float32).eps)     # Kaldi's floor for an energy before its logarithm
_WINDOWS = ("hamming", "hanning", "povey", "rectangular", "blackman", "sine")

# Kaldi's name -> (where kaldi-native-fbank keeps it, how its value is read)
_SHARED_OPTIONS: dict[str, tuple[str, Callable]] = {
    "sample-frequency": ("frame_opts.samp_freq", number),
    "frame-length": ("frame_opts.frame_length_ms", number),
    "frame-shift": ("frame_opts.frame_shift_ms", number),
    "dither": ("frame_opts.dither", number),
    "preemphasis-coefficient": ("frame_opts.preemph_coeff", number),
    "remove-dc-offset": ("frame_opts.remove_dc_offset", boolean),
    "window-type": ("frame_opts.window_type", str),
    "round-to-power-of-two": ("frame_opts.round_to_power_of_two", boolean),
    "blackman-coeff": ("frame_opts.blackman_coeff", number),
    "snip-edges": ("frame_opts.snip_edges", boolean),
    "num-mel-bins": ("mel_opts.num_bins", whole_number),
    "low-freq": ("mel_opts.low_freq", number),
    "high-freq": ("mel_opts.high_freq", number),
    "vtln-low": ("mel_opts.vtln_low", number),
    "vtln-high": ("mel_opts.vtln_high", number),
    "debug-mel": ("mel_opts.debug_mel", boolean),
    "htk-compat": ("htk_compat", boolean),
    "use-energy": ("use_energy", boolean),
    "energy-floor": ("energy_floor", number),
    "raw-energy": ("raw_energy", boolean),
}
_FBANK_OPTIONS = _SHARED_OPTIONS | {"use-log-fbank": ("use_log_fbank", boolean), "use-power": ("use_power", boolean)}
_MFCC_OPTIONS = _SHARED_OPTIONS | {"num-ceps": ("num_ceps", whole_number),
                                   "cepstral-lifter": ("cepstral_lifter", number)}
# What Kaldi's programs read from the same files, but is done elsewhere here.
_ELSEWHERE = {"allow-downsample": "--resample true on the command line converts sampling rates",
              "allow-upsample": "--resample true on the command line converts sampling rates",
              "channel": "--channel stands on the command line",
              "subtract-mean": "steps/apply_cmvn.py does that"}


class _Spectral:
    """Samples (S,) float32 on the int16 scale to features (T, F) float32; `dim` is F.

    `options`: all values, as kaldi-native-fbank holds them, but for `dither`, which is done here. `length` and `shift`
    of a frame are in samples.
    """

    def __init__(self, conf: Mapping[str, str], kind: str, options: object, online: Callable,
                 places: Mapping[str, tuple[str, Callable]]):
        for name, text in conf.items():
            if name in _ELSEWHERE:
                raise UserError(f"--{name}: not {kind}; {_ELSEWHERE[name]}, so remove this line")
            if name not in places:
                raise unknown(name, kind, places)
            attribute, convert = places[name]
            _set(options, attribute, converted(name, text, convert))
        _check(options)
        self.options, self._online, frame = options, online, options.frame_opts
        self.rate_hz = int(frame.samp_freq)
        self.frame_shift_ms, self.snip_edges = frame.frame_shift_ms, frame.snip_edges
        self.dither, frame.dither = frame.dither, 0.0
        self.length = int(self.rate_hz * 0.001 * frame.frame_length_ms)
        self.shift = int(self.rate_hz * 0.001 * frame.frame_shift_ms)
        try:
            self.dim = online(options).dim
        except (RuntimeError, ValueError) as fault:      # more bins than the spectrum has places for
            raise UserError(f"these options do not go together: {str(fault).splitlines()[0]}") from None

    def __call__(self, samples: np.ndarray, utt: str = "") -> np.ndarray:
        """Features (T, F) of one utterance. Raises UserError when it is shorter than one frame."""
        self.some_frames(len(samples))
        if self.dither:
            noise = np.random.default_rng(zlib.crc32(utt.encode())).standard_normal(len(samples), dtype=np.float32)
            samples = samples + self.dither * noise
        online = self._online(self.options)
        online.accept_waveform(self.rate_hz, samples)
        online.input_finished()
        n_frames = online.num_frames_ready
        frames = np.concatenate([online.get_frame(i) for i in range(n_frames)])
        return frames.reshape(n_frames, -1)                                             # (T, F)

    def n_frames(self, n_samples: int) -> int:
        """How many frames so many samples have."""
        if self.snip_edges:
            return max(0, 1 + (n_samples - self.length) // self.shift)
        return (n_samples + self.shift // 2) // self.shift

    def some_frames(self, n_samples: int) -> int:
        """The same, but raises UserError where it is none."""
        if n_frames := self.n_frames(n_samples):
            return n_frames
        raise UserError(f"{n_samples} samples are shorter than one frame of "
                        f"{self.options.frame_opts.frame_length_ms:g} ms; leave this utterance out")

    def log_energy(self, samples: np.ndarray) -> np.ndarray:
        """Natural log of each frame's energy, (T,) float32, before pre-emphasis and window: Kaldi's raw energy.

        The frames are those of `__call__`: same length, shift and edges.
        """
        n_frames, length, shift = self.some_frames(len(samples)), self.length, self.shift
        samples = samples.astype(np.float64)
        if not self.snip_edges:
            left = length // 2 - shift // 2
            right = max(0, (n_frames - 1) * shift - left + length - len(samples))
            samples = np.pad(samples, (left, right), mode="symmetric")
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::shift][:n_frames]     # (T, length)
        energy = np.einsum("tl,tl->t", frames, frames)
        if self.options.frame_opts.remove_dc_offset:
            energy = energy - frames.sum(axis=1) ** 2 / length
        return np.log(np.maximum(energy, _LOG_FLOOR)).astype(np.float32)


class Fbank(_Spectral):
    """Log-mel filter banks: samples (S,) float32 on the int16 scale to features (T, F) float32.

    conf: Kaldi's options by name without dashes in front, as `read_conf` gives them. Defaults are Kaldi's, but 80 bins
    and dither 0, so that features are the same each time. When dither is asked for it is Gaussian noise of that
    standard deviation on the samples, seeded by the utterance's name; Kaldi draws it anew for each frame.
    Raises UserError for an unknown option or a value that does not fit.
    """

    def __init__(self, conf: Mapping[str, str]):
        import kaldi_native_fbank as knf

        conf = {"num-mel-bins": "80", "dither": "0", **conf}
        super().__init__(conf, "an fbank option", knf.FbankOptions(), knf.OnlineFbank, _FBANK_OPTIONS)


class Mfcc(_Spectral):
    """Mel-frequency cepstra: samples (S,) float32 on the int16 scale to features (T, F) float32, F = num-ceps.

    Options, dither and errors as for Fbank. Defaults are Kaldi's compute-mfcc-feats (feat/feature-mfcc.h): 13 cepstra
    of 23 bins, lifter 22, the log of the raw energy in place of C0; but dither 0. deltas: first and second derivatives
    stand beside them, as `add_deltas` gives them, and F is three times as much.
    """

    def __init__(self, conf: Mapping[str, str], deltas: bool = False):
        import kaldi_native_fbank as knf

        options = knf.MfccOptions()
        n_ceps = converted("num-ceps", conf.get("num-ceps", str(options.num_ceps)), whole_number)
        n_bins = converted("num-mel-bins", conf.get("num-mel-bins", str(options.mel_opts.num_bins)),
                           whole_number)
        if not 1 <= n_ceps <= n_bins:                    # kaldi-native-fbank dies of num-ceps 0
            raise UserError(f"--num-ceps={n_ceps}: between 1 and --num-mel-bins={n_bins}")
        super().__init__({"dither": "0", **conf}, "an MFCC option", options, knf.OnlineMfcc, _MFCC_OPTIONS)
        self._deltas = deltas
        if deltas:
            self.dim *= 3

    def __call__(self, samples: np.ndarray, utt: str = "") -> np.ndarray:
        """Features (T, F) of one utterance. Raises UserError when it is shorter than one frame."""
        feats = super().__call__(samples, utt)
        return add_deltas(feats) if self._deltas else feats


def _check(options: object) -> None:
    """Raises UserError for values that kaldi-native-fbank would take, or die of."""
    frame, mel = options.frame_opts, options.mel_opts
    if not (frame.samp_freq >= 1000 and frame.frame_shift_ms >= 1 and frame.frame_length_ms >= 1):
        raise UserError(f"--sample-frequency={frame.samp_freq:g} --frame-length={frame.frame_length_ms:g} "
                        f"--frame-shift={frame.frame_shift_ms:g}: at least 1000 Hz, 1 ms and 1 ms")
    if frame.samp_freq != int(frame.samp_freq):
        raise UserError(f"--sample-frequency={frame.samp_freq:g}: recordings have whole numbers of samples a second")
    if frame.dither < 0 or not 0 <= frame.preemph_coeff <= 1:
        raise UserError(f"--dither={frame.dither:g} --preemphasis-coefficient={frame.preemph_coeff:g}: at least 0, and "
                        "from 0 to 1")
    if frame.window_type not in _WINDOWS:
        raise UserError(f"--window-type={frame.window_type}: the windows are {', '.join(_WINDOWS)}")
    nyquist = frame.samp_freq / 2
    high = mel.high_freq if mel.high_freq > 0 else nyquist + mel.high_freq
    if not (mel.num_bins >= 3 and 0 <= mel.low_freq < high <= nyquist):
        raise UserError(f"--num-mel-bins={mel.num_bins} --low-freq={mel.low_freq:g} --high-freq={mel.high_freq:g}: "
                        f"it takes 3 bins or more between 0 and {nyquist:g} Hz")


def _set(options: object, attribute: str, value: object) -> None:
    *parents, last = attribute.split(".")
    for parent in parents:
        options = getattr(options, parent)
    setattr(options, last, value)
