"""Short pieces of the trials' recordings as data URIs, so that the page plays them wherever it lies."""

import base64
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pyspk.audio import utterance_reader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.scoring.trials import kaldi_name

log = logging.getLogger(__name__)

RATE_HZ, SECONDS = 16000, 4.0
_STEP_S = 0.1                      # how finely the loudest piece is looked for
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Clip:
    """A piece of an utterance: a data URI, where it begins, its length, and that of the utterance, in seconds."""

    uri: str
    start_s: float
    seconds: float
    total_s: float


def make_clips(data: Path, names: Iterable[str], limit_mb: float, no_pipes: bool = False) -> dict[str, Clip]:
    """Name -> its clip, in the order given, until the clips together would take more than limit_mb (10^6 bytes).

    names: utterances of `data`, in VoxCeleb's form or Kaldi's; others (a speaker who was enrolled) have no clip.
    Raises UserError for a recording that cannot be read, naming it and the way to go on without.
    """
    try:
        return _cut_until_full(DataDir(data, no_pipes), dict.fromkeys(names), limit_mb)
    except UserError as fault:
        raise UserError(f"{fault}; --audio-mb 0 makes the page without recordings") from None


def _cut_until_full(data: DataDir, names: Iterable[str], limit_mb: float) -> dict[str, Clip]:
    read = utterance_reader(data, RATE_HZ, resample=True, channel="mix")
    clips: dict[str, Clip] = {}
    left = limit_mb * 1e6
    for name in names:
        utt = name if name in data.utt2spk else kaldi_name(name)
        if utt not in data.utt2spk:
            continue
        clip = cut(read(utt))
        if len(clip.uri) > left:
            log.warning("the recordings fill %g MB: %d are on the page, from %s on they are not (--audio-mb)",
                        limit_mb, len(clips), utt)
            break
        clips[name] = clip
        left -= len(clip.uri)
    return clips


def cut(samples: np.ndarray, seconds: float = SECONDS) -> Clip:
    """The loudest `seconds` of `samples` (S,) float32 on the int16 scale at RATE_HZ, or all of fewer, as FLAC."""
    n_clip, step = round(seconds * RATE_HZ), round(_STEP_S * RATE_HZ)
    start = 0
    if len(samples) > n_clip:
        energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])      # (S + 1,)
        starts = np.arange(0, len(samples) - n_clip + 1, step)
        start = int(starts[np.argmax(energy[starts + n_clip] - energy[starts])])
    piece, buffer = samples[start:start + n_clip], io.BytesIO()
    soundfile.write(buffer, piece / _FULL_SCALE, RATE_HZ, format="FLAC", subtype="PCM_16")
    uri = f"data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Clip(uri, start / RATE_HZ, len(piece) / RATE_HZ, len(samples) / RATE_HZ)
