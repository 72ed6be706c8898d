"""Log-mel filter banks of many waves at once, on whatever device the waves are."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from pyspk.features.spectral import Fbank

_MEL_BREAK_HZ, _MEL_FACTOR = 700.0, 1127.0


class BatchedFbank(nn.Module):
    """Waves (B, S) on the int16 scale to features (B, T, F) float32: those of Fbank, for training on a GPU.

    conf, defaults and errors: Fbank's; F is `dim`. Only dither differs: it is drawn from the device's own generator,
    and only while the module is in training mode. There are no parameters, and nothing is in state_dict.

    Formulas as in Kaldi's feat/feature-window.cc, feature-fbank.cc and mel-computations.cc. All is float32 also under
    autocast, but the sum over a filter: float64, so that no permission to multiply matrices in TF32 or bfloat16 costs
    digits there. Log-mel energies equal those of kaldi-native-fbank within 1e-3 down to 70 dB below the loudest
    frequency of the frame. What is weaker than that (one value in a thousand of speech, all but a few in a pure tone)
    is touched by what a float32 FFT rounds off the loud ones, in kaldi-native-fbank as here. In 12 minutes of read
    speech one value in 100,000 differs by more than 1e-3, the worst by 0.024; there kaldi-native-fbank is up to 0.007
    from the exact value, and this up to 0.017.
    """

    def __init__(self, conf: Mapping[str, str]):
        super().__init__()
        fbank = Fbank(conf)
        options, frame = fbank.options, fbank.options.frame_opts
        self.dim, self.rate_hz, self.length, self.shift = fbank.dim, fbank.rate_hz, fbank.length, fbank.shift
        self.some_frames, self._snip_edges, self._dither = fbank.some_frames, fbank.snip_edges, fbank.dither
        self._remove_dc, self._preemphasis = frame.remove_dc_offset, frame.preemph_coeff
        self._use_power, self._use_log = options.use_power, options.use_log_fbank
        self._use_energy, self._raw_energy = options.use_energy, options.raw_energy
        self._energy_last = options.htk_compat
        self._energy_floor = math.log(options.energy_floor) if options.energy_floor > 0 else -math.inf
        self._n_fft = 1 << (self.length - 1).bit_length() if frame.round_to_power_of_two else self.length
        window = window_of(frame.window_type, self.length, frame.blackman_coeff)
        self.register_buffer("_window", torch.from_numpy(window).float(), persistent=False)            # (length,)
        high_hz = options.mel_opts.high_freq + (0 if options.mel_opts.high_freq > 0 else self.rate_hz / 2)
        filters = mel_filters(options.mel_opts.num_bins, options.mel_opts.low_freq, high_hz, self.rate_hz, self._n_fft)
        self.register_buffer("_filters", torch.from_numpy(filters), persistent=False)                  # (n_fft / 2, M)

    def forward(self, waves: Tensor, frames: Tensor | None = None, n_samples: Tensor | None = None) -> Tensor:
        """Features (B, T, F) float32 of waves (B, S), int16 or floating.

        frames (B, T) int64: which frames of each, in any order. n_samples (B,) int64: where each wave ends; what stands
        behind is not looked at. Both or neither: all frames of S samples. Raises UserError when S is less than a frame.
        """
        with torch.autocast(waves.device.type, enabled=False):
            waves = waves.float()
            if frames is None:
                frames = torch.arange(self.some_frames(waves.shape[1]), device=waves.device).expand(len(waves), -1)
                n_samples = torch.full((len(waves),), waves.shape[1], device=waves.device)
            if self.training and self._dither:
                waves = waves + self._dither * torch.randn_like(waves)
            return self._features(self._cut(waves, frames, n_samples))

    def _cut(self, waves: Tensor, frames: Tensor, n_samples: Tensor) -> Tensor:
        """The samples of the frames, (B, T, length). Without snip-edges a wave goes on mirrored beyond its ends."""
        if not self._snip_edges:
            first = self.shift // 2 - self.length // 2      # sample of frame 0: its middle is that of the first shift
            place = torch.arange(first, first + waves.shape[1] + self.length, device=waves.device)
            there_and_back = 2 * n_samples[:, None]                                                    # (B, 1)
            place = place % there_and_back                                                             # (B, S + length)
            waves = waves.gather(1, torch.minimum(place, there_and_back - 1 - place))
        row = torch.arange(len(waves), device=waves.device)[:, None]
        return waves.unfold(1, self.length, 1)[row, frames * self.shift]

    def _features(self, samples: Tensor) -> Tensor:
        """Features (B, T, F) of the samples (B, T, length) of frames."""
        if self._remove_dc:
            samples = samples - samples.mean(dim=2, keepdim=True)
        raw = samples
        before = torch.cat([samples[..., :1], samples[..., :-1]], dim=2)      # the first sample stands for its own past
        samples = torch.sub(samples, before, alpha=self._preemphasis).mul_(self._window)
        spectrum = torch.fft.rfft(samples, n=self._n_fft)[..., :self._n_fft // 2]
        power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)                # (B, T, n_fft / 2)
        mel = ((power if self._use_power else power.sqrt()).double() @ self._filters).float()      # (B, T, M)
        if self._use_log:
            mel = _floored_log(mel)
        if not self._use_energy:
            return mel
        energy = _floored_log((raw if self._raw_energy else samples).square().sum(dim=2, keepdim=True))
        energy = energy.clamp(min=self._energy_floor)                                              # (B, T, 1)
        return torch.cat([mel, energy] if self._energy_last else [energy, mel], dim=2)


def _floored_log(energy: Tensor) -> Tensor:
    return energy.clamp(min=torch.finfo(torch.float32).eps).log()      # Kaldi's floor


def window_of(kind: str, length: int, blackman_coeff: float) -> np.ndarray:
    """The window of Kaldi's --window-type, (length,) float64."""
    angle = 2 * math.pi * np.arange(length) / (length - 1)
    hanning = 0.5 - 0.5 * np.cos(angle)
    return {"hanning": hanning, "hamming": 0.54 - 0.46 * np.cos(angle), "povey": hanning ** 0.85,
            "sine": np.sin(0.5 * angle), "rectangular": np.ones(length),
            "blackman": blackman_coeff - 0.5 * np.cos(angle) + (0.5 - blackman_coeff) * np.cos(2 * angle)}[kind]


def mel_filters(n_bins: int, low_hz: float, high_hz: float, rate_hz: int, n_fft: int) -> np.ndarray:
    """Triangles that are even on the mel scale, (n_fft / 2, n_bins) float64: the weight of each frequency in each bin.

    The frequencies are k * rate_hz / n_fft; Kaldi leaves the last one, half the sampling rate, out.
    """
    low, high = _mel(low_hz), _mel(high_hz)
    step = (high - low) / (n_bins + 1)
    place = (_mel(np.arange(n_fft // 2) * rate_hz / n_fft)[:, None] - low) / step      # in steps: bin m is at m + 1
    return np.maximum(0, 1 - np.abs(place - np.arange(1, n_bins + 1)))


def _mel(hz: float | np.ndarray) -> np.ndarray:
    return _MEL_FACTOR * np.log1p(np.asarray(hz) / _MEL_BREAK_HZ)
