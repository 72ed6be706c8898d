"""What effects.py does to one utterance, done to many at once, on whatever device they are.

Waves are (B, S) float32, each with its own number of samples, (B,) int64, and zeros behind them.
"""

import torch
from scipy.fft import next_fast_len
from torch import Tensor


def add_noise(waves: Tensor, n_samples: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """`waves` + g * `noise`, (B, S), with each one's g such that the ratio is its `snr_db`, (B,): effects.add_noise.

    noise: (B, S), zeros behind each wave's end, and none silent.
    """
    gain = (mean_power(waves, n_samples) / mean_power(noise, n_samples) * 10 ** (-snr_db / 10)).sqrt()      # (B,)
    return waves + gain[:, None] * noise


def reverberate(waves: Tensor, n_samples: Tensor, rirs: Tensor, direct: Tensor) -> Tensor:
    """`waves` as heard in the rooms of the impulse responses `rirs`, (B, K): effects.reverberate; (B, S).

    direct: (B,) int64, the direct path of each response, behind whose end stand zeros.
    """
    n_max = waves.shape[1]
    n_fft = next_fast_len(n_max + rirs.shape[1] - 1, real=True)      # all of the convolution: nothing wraps around
    heard = torch.fft.irfft(torch.fft.rfft(waves, n=n_fft) * torch.fft.rfft(rirs, n=n_fft), n=n_fft)
    place = torch.arange(n_max, device=waves.device)
    heard = heard.gather(1, place + direct[:, None])                                                        # (B, S)
    heard = heard * (place < n_samples[:, None])
    power = mean_power(heard, n_samples)
    gain = torch.where(power > 0, mean_power(waves, n_samples) / power, 0).sqrt()      # (B,), of silence no 0 / 0
    return gain[:, None] * heard


def mean_power(waves: Tensor, n_samples: Tensor) -> Tensor:
    """The mean square of each wave over its own samples, (B,)."""
    return waves.square().sum(dim=1) / n_samples
