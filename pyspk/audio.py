"""Audio: any file, pipe or part of one to samples on the int16 scale, as Kaldi's feature programs expect them."""

import io
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from pyspk.datadir import DataDir
from pyspk.errors import UserError

INT16_SCALE = 32768
# A segment may end this much after its recording and is then cut there, as by Kaldi's extract-segments.
MAX_OVERSHOOT_S = 0.5
SOX_QUALITY = "HQ"


def load(rxfilename: str, start_s: float | None = None, end_s: float | None = None) -> tuple[np.ndarray, int]:
    """Samples, (S,) or (S, C) float32 on the int16 scale, and their rate in Hz; 16-bit PCM comes back exactly.

    rxfilename: a path, or a command ending in "|" that writes audio to its stdout (run by bash). Any format that
    libsndfile knows. start_s, end_s: only this part, in seconds; of a plain file nothing else is decoded.
    Raises UserError, naming rxfilename, for a missing, unreadable or empty file, a command that fails, a part outside.
    """
    source = _run(rxfilename) if rxfilename.rstrip().endswith("|") else rxfilename
    if source is rxfilename and not Path(rxfilename).is_file():
        raise UserError(f"{rxfilename}: no such file")
    try:
        with soundfile.SoundFile(source) as file:
            rate_hz, n_samples = file.samplerate, file.frames
            if n_samples == 0:
                raise UserError(f"{rxfilename}: no samples; leave it out")
            start, end = _part(rxfilename, n_samples, rate_hz, start_s, end_s)
            # GSM cannot seek, and in MP3 libsndfile lands near the sample, not on it: decode from the beginning there.
            before = start if file.format == "MP3" or not file.seekable() else 0
            if start > before:
                file.seek(start)
            samples = file.read(before + end - start, dtype="float32")[before:]
    except soundfile.LibsndfileError as fault:
        raise UserError(f"{rxfilename}: not readable as audio ({fault.error_string}); "
                        "convert it to wav or flac, or leave it out") from None
    if len(samples) < end - start:
        raise UserError(f"{rxfilename}: ends after {(start + len(samples)) / rate_hz:.3f} s of the "
                        f"{n_samples / rate_hz:.3f} s that its header promises; copy it again, or leave it out")
    samples *= INT16_SCALE       # libsndfile divides by it, a power of 2: exact both ways
    return samples, rate_hz


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

    Raises UserError, naming rxfilename and the option that settles it, for all that load() and to_mono() refuse and,
    unless `resample`, for another sampling rate.
    """
    samples, from_hz = load(rxfilename, start_s, end_s)
    return _as_wanted(rxfilename, samples, from_hz, rate_hz, resample, channel)


def _as_wanted(rxfilename: str, samples: np.ndarray, from_hz: int, rate_hz: int, convert: bool,
               channel: str | int | None) -> np.ndarray:
    """`samples` as one channel at `rate_hz`. Raises UserErrors that name rxfilename and the option that settles it."""
    try:
        mono = to_mono(samples, channel)
    except UserError as fault:
        raise UserError(f"{rxfilename}: {fault}") from None
    if from_hz != rate_hz and not convert:
        raise UserError(f"{rxfilename}: {from_hz} Hz, but {rate_hz} Hz is wanted; convert it with --resample true")
    return resample(mono, from_hz, rate_hz)


def utterance_reader(data: DataDir, rate_hz: int, resample: bool = False,
                     channel: str | int | None = None) -> Callable[[str], np.ndarray]:
    """utterance -> its samples, (S,) float32, by wav.scp and segments of a data directory; errors as read_utterance.

    The segments of a pipe that follow each other share one run of its command.
    """
    spans = data.utterances()
    piped = lru_cache(maxsize=1)(load)

    def read(utt: str) -> np.ndarray:
        rxfilename, start_s, end_s = spans[utt]
        if start_s is None or not rxfilename.rstrip().endswith("|"):
            return read_utterance(rxfilename, rate_hz, resample, channel, start_s, end_s)
        samples, from_hz = piped(rxfilename)
        start, end = _part(rxfilename, len(samples), from_hz, start_s, end_s)
        return _as_wanted(rxfilename, samples[start:end], from_hz, rate_hz, resample, channel)

    return read


def _part(name: str, n_samples: int, rate_hz: int, start_s: float | None,
          end_s: float | None) -> tuple[int, int]:
    """First sample and the one after the last, of n_samples. Raises UserError for a part outside the recording."""
    start = round((start_s or 0) * rate_hz)
    end = n_samples if end_s is None else round(end_s * rate_hz)
    if not 0 <= start < min(end, n_samples) or end > n_samples + MAX_OVERSHOOT_S * rate_hz:
        last = "its end" if end_s is None else f"{end_s} s"
        raise UserError(f"{name}: the segment from {start_s or 0} s to {last} is not inside the recording of "
                        f"{n_samples / rate_hz:.3f} s; mend its line in segments")
    return start, min(end, n_samples)


def _run(rxfilename: str) -> io.BytesIO:
    """What the command `... |` writes to stdout. A fault anywhere in its pipeline counts, not only at its end."""
    command = rxfilename.rstrip()[:-1]
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "no message"
        raise UserError(f"{rxfilename}: the command failed (exit {done.returncode}): {last}")
    return io.BytesIO(done.stdout)
