"""Utterances: recordings and their segments as one channel at one sampling rate, or refused with a reason."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import soxr

from pyspk.audio.recording import Recording, load
from pyspk.datadir import DataDir
from pyspk.errors import UserError

SOX_QUALITY = "HQ"


def to_mono(samples: np.ndarray, channel: str | int | None = None) -> np.ndarray:
    """One channel of `samples`, (S,) float32: number `channel` from 0, the mean for "mix", the only one for None.

    samples: (S,) or (S, C). Raises UserError when None would have to choose, or the channel is not there.
    """
    if samples.ndim == 1:
        samples = samples[:, None]                                       # (S, 1)
    names = [str(number) for number in range(samples.shape[1])]
    choices = f"choose with --channel {'|'.join([*names, 'mix'])}"
    if channel == "mix":
        return samples.mean(axis=1)
    if channel is None and len(names) > 1:
        raise UserError(f"has {len(names)} channels; {choices}")
    if channel is not None and str(channel) not in names:
        raise UserError(f'has no channel "{channel}"; {choices}')
    return np.ascontiguousarray(samples[:, int(channel or 0)])


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """`samples`, (S,) or (S, C) float32, at `to_hz`, by the SoX resampler; unchanged when it is the same rate."""
    return samples if from_hz == to_hz else soxr.resample(samples, from_hz, to_hz, quality=SOX_QUALITY)


def read_utterance(rxfilename: str, rate_hz: int, resample: bool = False, channel: str | int | None = None,
                   start_s: float | None = None, end_s: float | None = None) -> np.ndarray:
    """An utterance, (S,) float32 on the int16 scale at `rate_hz`; start_s and end_s are seconds in the recording.

    Raises UserError, naming rxfilename and the option that settles it, for all that load() and to_mono() refuse, for
    samples that are not finite and, unless `resample`, for another sampling rate.
    """
    samples, from_hz = load(rxfilename, start_s, end_s)
    return as_wanted(rxfilename, samples, from_hz, rate_hz, resample, channel)


def utterance_reader(data: DataDir, rate_hz: int, resample: bool = False,
                     channel: str | int | None = None) -> Callable[[str], np.ndarray]:
    """utterance -> its samples, (S,) float32, by wav.scp and segments of a data directory.

    Errors are those of read_utterance; an utterance whose samples are all the same is one too, while a stretch of a
    recording may be a pause. Segments that follow each other share one open recording: a pipe is run once, and what
    cannot seek is decoded once.
    """
    spans = data.utterances()
    opened = lru_cache(maxsize=1)(Recording)

    def read(utt: str) -> np.ndarray:
        rxfilename, start_s, end_s = spans[utt]
        if start_s is None:
            samples = read_utterance(rxfilename, rate_hz, resample, channel)
        else:
            recording = opened(rxfilename)
            part = recording.part(start_s, end_s)
            samples = as_wanted(rxfilename, part, recording.rate_hz, rate_hz, resample, channel)
        refuse_silent(rxfilename, samples)
        return samples

    return read


def as_wanted(rxfilename: str, samples: np.ndarray, from_hz: int, rate_hz: int, convert: bool,
               channel: str | int | None) -> np.ndarray:
    """`samples` as one channel at `rate_hz`. Raises UserErrors that name rxfilename and the option that settles it."""
    try:
        mono = to_mono(samples, channel)
        _refuse_not_finite(mono)
    except UserError as fault:
        raise UserError(f"{rxfilename}: {fault}") from None
    if from_hz != rate_hz and not convert:
        raise UserError(f"{rxfilename}: {from_hz} Hz, but {rate_hz} Hz is wanted; convert it with --resample true")
    return resample(mono, from_hz, rate_hz)


def _refuse_not_finite(samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        first = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise UserError(f"sample {first} is {samples[first]}, which no sound is; make it again, or leave it out")


def refuse_silent(rxfilename: str, samples: np.ndarray) -> None:
    """Raises UserError for samples (S,) that hold no sound: their frames would all be equal."""
    low, high = samples.min(), samples.max()
    if low == high and len(samples) > 1:
        what = "silent: all its samples are 0" if low == 0 else f"clipped: all its samples are {low:g}"
        raise UserError(f"{rxfilename}: {what}; leave it out")
