"""What a program or a person hands over as a recording: to the samples that a network hears, or refused with a reason.
"""

import logging
from pathlib import Path

import numpy as np

from pyspk.audio import as_wanted, load, refuse_silent
from pyspk.audio.decoders import INT16_SCALE
from pyspk.errors import UserError
from pyspk.tables.stream import is_command

log = logging.getLogger("pyspk")
Audio = str | Path | tuple[np.ndarray, int]
_MOST_OF_FLOAT = 4.0      # samples from -1 to 1 that a resampler or a gain took beyond are still that; int16's are not


def read(audio: Audio, rate_hz: int, channel: str | int | None = None) -> tuple[str, np.ndarray]:
    """(its name, samples (S,) float32 on the int16 scale at `rate_hz`) of a file or of (samples, rate in Hz).

    Given samples are (S,) or (S, C), int16 or floating from -1 to 1, as soundfile.read gives them. channel: 0, 1, ...
    or "mix", the mean; None: the mean where there are several. What is converted is logged.
    Raises UserError for what is no audio, has no sound, or is a name that the pipeline would run as a command.
    """
    if isinstance(audio, str | Path):
        name = str(audio)
        if is_command(name):
            raise UserError(f'{name}: a name that ends in "|" is a command in wav.scp, and none is run here; rename it')
        samples, from_hz = load(name)
    else:
        name, (samples, from_hz) = "the samples", audio
        samples = _on_int16_scale(np.asarray(samples))
    n_channels = 1 if samples.ndim == 1 else samples.shape[1]
    if n_channels > 1 and channel is None:
        channel = "mix"
        log.info("%s: the mean of its %d channels (--channel chooses one)", name, n_channels)
    if from_hz != rate_hz:
        log.info("%s: %d Hz, converted to %d Hz%s", name, from_hz, rate_hz,
                 "" if from_hz > rate_hz else f"; the network expects sounds above {from_hz // 2} Hz too, so that "
                                              "scores are less certain")
    samples = as_wanted(name, samples, from_hz, rate_hz, True, channel)
    refuse_silent(name, samples)
    return name, samples


def _on_int16_scale(samples: np.ndarray) -> np.ndarray:
    """(S,) or (S, C) float32. Raises UserError for another shape or type, and for floats that are on another scale."""
    if samples.ndim not in (1, 2) or not len(samples):
        raise UserError(f"samples of shape {samples.shape}: they must be (S,) or (S, C), one or more")
    if samples.dtype == np.int16:
        return samples.astype(np.float32)
    if not np.issubdtype(samples.dtype, np.floating):
        raise UserError(f"samples of type {samples.dtype}: they must be int16, or floating from -1 to 1")
    if (most := np.abs(samples).max()) > _MOST_OF_FLOAT:
        raise UserError(f"floating samples up to {most:g}: they must be from -1 to 1, as soundfile.read gives them")
    return samples.astype(np.float32) * INT16_SCALE
