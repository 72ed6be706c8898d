"""What augmentation does to samples, (S,) float32 on the int16 scale.

Nothing is clipped to 16 bits: features are computed from the floats, a file that lies between would have to.
"""

from collections.abc import Sequence

import numpy as np

from pyspk import audio
from pyspk.errors import UserError

_SPEED_STEPS = 1000      # a factor is taken as a ratio of whole numbers, in thousandths


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """`samples` + g * `noise`, (S,) float32, with g such that the signal-to-noise ratio is `snr_db`.

    noise: (S,), as `repeat` makes it. P(x) being the mean square of x over the utterance, pauses included,
    g = sqrt(P(samples) / P(noise) * 10^(-snr_db / 10)), as in Kaldi's wav-reverberate; there the sum is then scaled
    to the energy of the speech, here the speech stays as it is. Raises UserError when the noise is silent.
    """
    noise_power = _power(noise)
    if noise_power == 0:
        raise UserError("the noise is silent, so no level of it gives a signal-to-noise ratio")
    gain = np.sqrt(_power(samples) / noise_power * 10 ** (-snr_db / 10))
    return samples + np.float32(gain) * noise


def babble(voices: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of voices, each (S,), as they are: who was recorded louder is heard more. (S,) float32."""
    return np.sum(voices, axis=0, dtype=np.float32)


def repeat(noise: np.ndarray, n_samples: int, start: int = 0) -> np.ndarray:
    """n_samples of `noise` from its sample `start` on, beginning anew at its end as often as it takes."""
    return np.resize(np.roll(noise, -start), n_samples)


def reverberate(samples: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """`samples` as heard in the room of the impulse response `rir`: (S,) float32, of the same length and energy.

    y(n) = c * sum_k rir(k) samples(n + d - k), where d, the place of the largest |rir|, is the direct path: what is
    said at n is heard at n. c keeps the energy of `samples`. So does Kaldi's wav-reverberate (--shift-output,
    --normalize-output). Raises UserError when the response is silent.
    """
    from scipy.signal import oaconvolve

    direct = direct_path(rir)
    heard = oaconvolve(samples, rir)[direct:direct + len(samples)]
    power = _power(heard)
    return (heard * np.sqrt(_power(samples) / power)).astype(np.float32) if power > 0 else heard


def direct_path(rir: np.ndarray) -> int:
    """The place of the largest |rir|. Raises UserError when the response is silent."""
    direct = int(np.argmax(np.abs(rir)))
    if rir[direct] == 0:
        raise UserError("the impulse response is silent")
    return direct


def speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """`samples` played `factor` times as fast, (S / factor,) float32: shorter for 1.1, and every frequency times 1.1.

    That is sox's effect "speed", by which Kaldi perturbs: y(n) = x(factor * n), here by the SoX resampler.
    """
    return audio.resample(samples, round(_SPEED_STEPS * factor), _SPEED_STEPS)


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))
