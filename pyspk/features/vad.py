"""The energy VAD, as Kaldi defines it."""

import numpy as np

from pyspk.errors import UserError
from pyspk.features.conf import converted, number, unknown, whole_number

# Kaldi's name -> (default, how its value is read)
_OPTIONS = {"vad-energy-threshold": (5.0, number), "vad-energy-mean-scale": (0.5, number),
            "vad-frames-context": (0, whole_number), "vad-proportion-threshold": (0.6, number)}


class EnergyVad:
    """Kaldi's energy VAD (ivector/voice-activity-detection.cc): log energies (T,) to decisions (T,) of 0.0 and 1.0.

    A frame is voiced when, of the frames within `vad-frames-context` of it, at least `vad-proportion-threshold` have a
    log energy above `vad-energy-threshold` + `vad-energy-mean-scale` * the utterance's mean log energy.
    Raises UserError for an unknown option or a value that does not fit.
    """

    def __init__(self, conf: dict[str, str]):
        values = {name: default for name, (default, _) in _OPTIONS.items()}
        for name, text in conf.items():
            if name not in _OPTIONS:
                raise unknown(name, "a VAD option", _OPTIONS)
            values[name] = converted(name, text, _OPTIONS[name][1])
        self._threshold, self._mean_scale, self._context, self._proportion = values.values()
        if self._mean_scale < 0 or self._context < 0 or not 0 < self._proportion < 1:      # as Kaldi's own asks
            raise UserError(f"--vad-energy-mean-scale={self._mean_scale:g} --vad-frames-context={self._context} "
                            f"--vad-proportion-threshold={self._proportion:g}: the first two at least 0, the last "
                            "between 0 and 1")

    def __call__(self, log_energy: np.ndarray) -> np.ndarray:
        """Decisions (T,) float32 for log energies (T,)."""
        above = log_energy > self._threshold + self._mean_scale * log_energy.mean(dtype=np.float64)
        window = np.ones(2 * self._context + 1)
        n_above = np.convolve(above, window)[self._context:self._context + len(above)]
        n_seen = np.convolve(np.ones(len(above)), window)[self._context:self._context + len(above)]
        return (n_above >= n_seen * self._proportion).astype(np.float32)
