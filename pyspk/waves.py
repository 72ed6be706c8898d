"""Features computed from recordings as training asks for them, each chunk augmented anew: no feats.scp needed.

The counterpart of chunks.FeatureReader, for the same batches.
"""

import contextlib
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from pyspk import audio
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.copies import LIST, speed_name
from pyspk.augment.description import Augmentation
from pyspk.augment.effects import speed
from pyspk.augment.sources import span_seconds
from pyspk.chunks import centred
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import Fbank
from pyspk.tables.archive import ArchiveReader

_PLACES = 2**53      # so many different places in [0, 1) has a random float
_SLACK_FRAMES = 1    # by which a resampler's rounding may move the end of an utterance


class Stretch(NamedTuple):
    """The part of a recording that frames are computed from."""

    samples: np.ndarray      # (S,) float32 on the int16 scale, at the utterance's speed
    frames: np.ndarray       # (T,) int64, which frames of these samples they are
    steps: Augmentation      # what is to be done to the samples first


class WaveReader:
    """Reads the voiced frames of utterances, (T, F) float32, with the mean over the frames read subtracted.

    data: wav.scp, segments and, where it exists, vad.scp. conf: options of Fbank. augmenter: what chunks are augmented
    with; None: nothing. `utt2spk` has the utterances of `data` and, for each speed of the augmenter's settings, their
    sped-up copies, whose speakers are new ones. `dim` is F, `rate_hz` the sampling rate of what is read. Raises
    UserError for a directory of copies.
    """

    def __init__(self, data: DataDir, conf: Mapping[str, str], augmenter: Augmenter | None = None,
                 resample: bool = False, channel: str | int | None = None):
        if data.has(LIST):
            raise UserError(f"{data.path} has a {LIST}, so it is made of copies; train on its features, or on the "
                            "recordings that it was made from")
        self._given = data, conf, augmenter, resample, channel
        self._resample, self._channel, self.augmenter = resample, channel, augmenter
        self._fbank, self._spans = Fbank(dict(conf)), data.utterances()
        self._vad = data.table("vad.scp") if data.has("vad.scp") else None
        self._archives = ArchiveReader()
        # A chunk asks twice, and looking is opening the file; that of every utterance would be too much to keep.
        self._seconds = lru_cache(maxsize=1)(lambda source: span_seconds(*self._spans[source]))
        # Frames read on either side, so that those between are what they are in the whole utterance.
        self._margin = -(-self._fbank.length // self._fbank.shift)
        self.dim, self.rate_hz = self._fbank.dim, self._fbank.rate_hz
        self.utt2spk = dict(data.utt2spk)
        self._fast: dict[str, tuple[str, float]] = {}      # sped-up copy -> its source and speed
        for factor in augmenter.config.speeds if augmenter else ():
            for utt, spk in data.utt2spk.items():
                self._fast[speed_name(utt, factor)] = utt, factor
                self.utt2spk[speed_name(utt, factor)] = speed_name(spk, factor)

    def __getstate__(self) -> tuple:
        return self._given      # a worker process opens what it needs for itself

    def __setstate__(self, state: tuple) -> None:
        self.__init__(*state)

    def whole(self, utt: str) -> np.ndarray:
        """All voiced frames, without augmentation other than the copy's speed."""
        n_frames, voiced = self._voiced(utt)
        stretch = self._stretch(utt, np.arange(n_frames) if voiced is None else voiced)
        return centred(self._fbank(stretch.samples, utt)[stretch.frames])

    def chunk(self, utt: str, n_frames: int, place: float) -> np.ndarray:
        """n_frames consecutive voiced frames; place in [0, 1) says where. A shorter utterance repeats from its start.

        What these frames are augmented with depends on `utt` and `place` alone: who draws a new place for each sample
        of each epoch gets a new augmentation with it. Only the stretch of the recording from the first to the last
        frame is read, and augmented as if it were all: ratio and energy are those of the stretch.
        """
        samples, frames, steps = self.stretch(utt, n_frames, place)
        with naming(utt):
            if steps:
                samples = self.augmenter.apply(samples, self.rate_hz, steps)
            return centred(self._fbank(samples, utt)[frames])

    def stretch(self, utt: str, n_frames: int, place: float, most_frames: int | None = None) -> Stretch:
        """What `chunk` is made of.

        most_frames: bounds the stretch. Where n_frames voiced frames are spread over more, those in its beginning
        repeat, as all of a short utterance do.
        """
        n_all, voiced = self._voiced(utt)
        n_voiced = n_all if voiced is None else len(voiced)
        start = int(place * max(1, n_voiced - n_frames + 1))
        wanted = np.arange(start, min(start + n_frames, n_voiced))
        if voiced is not None:
            wanted = voiced[wanted]
        if most_frames:
            wanted = wanted[wanted < wanted[0] + most_frames]
        steps: Augmentation = ()
        if self.augmenter:
            steps = self.augmenter.draw(np.random.default_rng([zlib.crc32(utt.encode()), int(place * _PLACES)]))
        return self._stretch(utt, wanted[np.arange(n_frames) % len(wanted)], steps)

    def _source(self, utt: str) -> tuple[str, float]:
        """The utterance of the data directory that `utt` is, and its speed."""
        source, factor = self._fast.get(utt, (utt, 1.0))
        if source not in self._spans:
            raise UserError(f'utterance "{utt}" is not in wav.scp (or segments), nor one of these at another speed')
        return source, factor

    def _voiced(self, utt: str) -> tuple[int, np.ndarray | None]:
        """(number of frames, positions of the voiced ones or None for all), at the speed of `utt`."""
        source, factor = self._source(utt)
        seconds = self._seconds(source)
        n_frames = self._n_frames(seconds / factor)
        if n_frames < 1:
            raise UserError(f'utterance "{utt}" has {seconds / factor:.3f} s, less than one frame; leave it out')
        if self._vad is None:
            return n_frames, None
        decisions, n_source = self._archives.vector(self._vad[source]), self._n_frames(seconds)
        if abs(len(decisions) - n_source) > (_SLACK_FRAMES if self._resample else 0):
            raise UserError(f'utterance "{utt}" has {n_source} frames, but {len(decisions)} decisions in vad.scp; '
                            "make vad.scp again with the frames of these options")
        middle = ((np.arange(n_frames) + 0.5) * factor).astype(int)       # of each frame, in frames of the source
        voiced = np.flatnonzero(decisions[np.minimum(middle, len(decisions) - 1)])
        return n_frames, voiced if len(voiced) else None      # no voice at all: better all frames than none

    def _n_frames(self, seconds: float) -> int:
        return self._fbank.n_frames(round(seconds * self.rate_hz))

    def _stretch(self, utt: str, wanted: np.ndarray, steps: Augmentation = ()) -> Stretch:
        """From the first to the last of the frames `wanted` of `utt`, and as much on either side as these rest on."""
        (source, factor), fbank = self._source(utt), self._fbank
        (rxfilename, begin_s, _), seconds = self._spans[source], self._seconds(source)
        first = max(0, int(wanted.min()) - self._margin)
        last_sample = (int(wanted.max()) + self._margin) * fbank.shift + fbank.length
        from_s = first * fbank.shift * factor / self.rate_hz               # in the source, which goes at its own speed
        to_s = min(seconds, last_sample * factor / self.rate_hz)
        begin_s = begin_s or 0
        with naming(utt):
            samples = audio.read_utterance(rxfilename, self.rate_hz, self._resample, self._channel,
                                           begin_s + from_s, begin_s + to_s)
            if factor != 1:
                samples = speed(samples, factor)
            n_frames = fbank.some_frames(len(samples))
        # A resampler may round the last sample away, and with it the utterance's last frame: its neighbour stands in.
        return Stretch(samples, np.minimum(wanted - first, n_frames - 1), steps)


@contextlib.contextmanager
def naming(utt: str) -> Iterator[None]:
    """Says in front of a UserError which utterance it is about."""
    try:
        yield
    except UserError as fault:
        raise UserError(f'utterance "{utt}": {fault}') from None
