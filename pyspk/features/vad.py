"""The energy VAD, as Kaldi defines it."""

import numpy as np

from pyspk.features.conf import converted, unknown

# Kaldi's name -> (default, how its value is read)
_OPTIONS = {"vad-energy-threshold": (5.0, float), "vad-energy-mean-scale": (0.5, float),
            "vad-frames-context": (0, int), "vad-proportion-threshold": (0.6, float)}


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

    def __call__(self, log_energy: np.ndarray) -> np.ndarray:
        """Decisions (T,) float32 for log energies (T,)."""
        above = log_energy > self._threshold + self._mean_scale * log_energy.mean(dtype=np.float64)
        window = np.ones(2 * self._context + 1)
        n_above = np.convolve(above, window)[self._context:self._context + len(above)]
        n_seen = np.convolve(np.ones(len(above)), window)[self._context:self._context + len(above)]
        return (n_above >= n_seen * self._proportion).astype(np.float32)
