"""The recordings that augmentation adds or convolves with: Kaldi data directories, read only where they are needed."""

import contextlib
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import soundfile

from pyspk import audio
from pyspk.augment.effects import repeat
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.tables.stream import is_command

_MOST_IN_MEMORY = 256      # impulse responses: some 20 MB of those of RIRS_NOISES
_PER_SECOND = 1000         # places in a recording are drawn in thousandths of a second


class Sources:
    """The recordings (or, with segments, parts of recordings) of data directories, by id.

    The directories are read when the first recording is asked for. Raises UserError for one that is missing, empty or
    malformed, an id in two of them, an id that is in none, what audio.read_utterance refuses and, with no_pipes, a
    command.
    """

    def __init__(self, kind: str, dirs: Sequence[str], resample: bool = False, no_pipes: bool = False):
        self._kind, self._dirs, self._resample, self._no_pipes = kind, dirs, resample, no_pipes
        self.whole = lru_cache(maxsize=_MOST_IN_MEMORY)(self._read)
        self.seconds = lru_cache(maxsize=None)(self._seconds)      # one number for each id

    def __getstate__(self) -> tuple:
        return self._kind, self._dirs, self._resample, self._no_pipes

    def __setstate__(self, state: tuple) -> None:
        self.__init__(*state)

    def draw(self, rng: np.random.Generator) -> str:
        """An id: of a directory at random, a recording at random."""
        ids = self._ids[int(rng.integers(len(self._ids)))]
        return ids[int(rng.integers(len(ids)))]

    def draw_places(self, rng: np.random.Generator, n: int) -> tuple[tuple[str, float], ...]:
        """n different ids as `draw` gives them, each with a place in that recording, in seconds.

        Raises UserError when there are fewer recordings.
        """
        if (there := sum(map(len, self._ids))) < n:
            raise UserError(f"{n} different {self._kind} recordings are to be drawn, but {', '.join(self._dirs)} "
                            f"{'has' if len(self._dirs) == 1 else 'have'} {there}")
        ids: dict[str, None] = {}
        while len(ids) < n:
            ids[self.draw(rng)] = None
        return tuple((id, int(rng.random() * self.seconds(id) * _PER_SECOND) / _PER_SECOND) for id in ids)

    def stretch(self, id: str, rate_hz: int, at_s: float, n_samples: int) -> np.ndarray:
        """n_samples of a recording from at_s on, (n_samples,) float32; after its end it begins anew.

        Only this stretch is read, unless it reaches over the end.
        """
        seconds, end_s = self.seconds(id), at_s + n_samples / rate_hz
        if at_s >= seconds:
            raise UserError(f'{self._kind} recording "{id}" has only {seconds:.3f} s, but at={at_s}')
        if end_s <= seconds:
            return repeat(self._read(id, rate_hz, at_s, end_s), n_samples)
        return repeat(self._read(id, rate_hz), n_samples, round(at_s * rate_hz))

    @cached_property
    def _tables(self) -> list[dict[str, tuple[str, float | None, float | None]]]:
        """Of each directory: id -> (rxfilename, start, end), as DataDir.utterances has it."""
        tables: list[dict] = []
        for folder in self._dirs:
            table = DataDir(folder, self._no_pipes).utterances()
            for other, before in zip(self._dirs, tables, strict=False):
                if both := table.keys() & before.keys():
                    raise UserError(f'{self._kind} recording "{min(both)}" is in {other} and in {folder}; '
                                    "name it otherwise in one of them")
            tables.append(table)
        return tables

    @cached_property
    def _ids(self) -> list[list[str]]:
        return [list(table) for table in self._tables]

    def _span(self, id: str) -> tuple[str, float | None, float | None]:
        for table in self._tables:
            if id in table:
                return table[id]
        raise UserError(f'no {self._kind} recording is called "{id}" in '
                        f"{', '.join(self._dirs) or f'any directory: {self._kind}_dirs is empty'}")

    def _seconds(self, id: str) -> float:
        return span_seconds(*self._span(id))

    def _read(self, id: str, rate_hz: int, from_s: float | None = None, to_s: float | None = None) -> np.ndarray:
        """A recording, (S,) float32 at rate_hz, or the part of it between two times."""
        rxfilename, start_s, end_s = self._span(id)
        start_s = start_s or 0
        if to_s is not None:
            start_s, end_s = start_s + from_s, start_s + to_s
        return audio.read_utterance(rxfilename, rate_hz, self._resample, 0, start_s, end_s)


def span_seconds(rxfilename: str, start_s: float | None, end_s: float | None) -> float:
    """Length of a recording, or of the part of it that a segment is, in seconds.

    From its header alone, unless it is a pipe. Raises UserError as audio.load does.
    """
    seconds = _recording_seconds(rxfilename)
    return (seconds if end_s is None else min(end_s, seconds)) - (start_s or 0)


def _recording_seconds(rxfilename: str) -> float:
    with contextlib.suppress(soundfile.LibsndfileError):      # what that is, load says in words
        if not is_command(rxfilename):
            info = soundfile.info(rxfilename)
            if info.frames > 0:
                return info.frames / info.samplerate
    samples, rate_hz = audio.load(rxfilename)
    return len(samples) / rate_hz
