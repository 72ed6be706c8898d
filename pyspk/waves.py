"""Features computed from recordings as training asks for them, each chunk augmented anew: no feats.scp needed.

The counterpart of chunks.FeatureReader, for the same batches.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from pyspk import audio
from pyspk.augment.augmenter import Augmenter
from pyspk.augment.copies import LIST, speed_name
from pyspk.augment.description import Augmentation, Speed
from pyspk.augment.sources import span_seconds
from pyspk.chunks import centred
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import Fbank
from pyspk.tables.archive import ArchiveReader

_PLACES = 2**53      # so many different places in [0, 1) has a random float
_SLACK_FRAMES = 1    # by which a resampler's rounding may move the end of an utterance


class WaveReader:
    """Reads the voiced frames of utterances, (T, F) float32, with the mean over the frames read subtracted.

    data: wav.scp, segments and, where it exists, vad.scp. conf: options of Fbank. augmenter: what chunks are augmented
    with; None: nothing. `utt2spk` has the utterances of `data` and, for each speed of the augmenter's settings, their
    sped-up copies, whose speakers are new ones. `dim` is F. Raises UserError for a directory of copies.
    """

    def __init__(self, data: DataDir, conf: Mapping[str, str], augmenter: Augmenter | None = None,
                 resample: bool = False, channel: str | int | None = None):
        if data.has(LIST):
            raise UserError(f"{data.path} has a {LIST}, so it is made of copies; train on its features, or on the "
                            "recordings that it was made from")
        self._given = data, conf, augmenter, resample, channel
        self._resample, self._channel, self._augmenter = resample, channel, augmenter
        self._fbank, self._spans = Fbank(dict(conf)), data.utterances()
        self._vad = data.table("vad.scp") if data.has("vad.scp") else None
        self._archives = ArchiveReader()
        samples_a_ms = self._fbank.rate_hz * 0.001
        self._length = int(samples_a_ms * float(conf.get("frame-length", 25)))
        self._shift = int(samples_a_ms * self._fbank.frame_shift_ms)
        self._snip_edges = conf.get("snip-edges", "true") == "true"
        # Frames read on either side, so that those between are what they are in the whole utterance.
        self._margin = -(-self._length // self._shift)
        self.dim = self._fbank(np.zeros(self._fbank.rate_hz, np.float32)).shape[1]
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
        return centred(self._frames(utt, np.arange(n_frames) if voiced is None else voiced, ()))

    def chunk(self, utt: str, n_frames: int, place: float) -> np.ndarray:
        """n_frames consecutive voiced frames; place in [0, 1) says where. A shorter utterance repeats from its start.

        What these frames are augmented with depends on `utt` and `place` alone: who draws a new place for each sample
        of each epoch gets a new augmentation with it. Only the stretch of the recording from the first to the last
        frame is read, and augmented as if it were all: ratio and energy are those of the stretch.
        """
        n_all, voiced = self._voiced(utt)
        n_voiced = n_all if voiced is None else len(voiced)
        start = int(place * max(1, n_voiced - n_frames + 1))
        wanted = np.arange(start, min(start + n_frames, n_voiced))
        steps: Augmentation = ()
        if self._augmenter:
            steps = self._augmenter.draw(np.random.default_rng([zlib.crc32(utt.encode()), int(place * _PLACES)]))
        feats = self._frames(utt, wanted if voiced is None else voiced[wanted], steps)
        return centred(feats if len(feats) == n_frames else feats[np.arange(n_frames) % len(feats)])

    def _source(self, utt: str) -> tuple[str, float]:
        """The utterance of the data directory that `utt` is, and its speed."""
        source, factor = self._fast.get(utt, (utt, 1.0))
        if source not in self._spans:
            raise UserError(f'utterance "{utt}" is not in wav.scp (or segments), nor one of these at another speed')
        return source, factor

    def _voiced(self, utt: str) -> tuple[int, np.ndarray | None]:
        """(number of frames, positions of the voiced ones or None for all), at the speed of `utt`."""
        source, factor = self._source(utt)
        seconds = span_seconds(*self._spans[source])
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
        n_samples = round(seconds * self._fbank.rate_hz)
        if self._snip_edges:
            return max(0, 1 + (n_samples - self._length) // self._shift)
        return (n_samples + self._shift // 2) // self._shift

    def _frames(self, utt: str, wanted: np.ndarray, steps: Augmentation) -> np.ndarray:
        """The frames `wanted` (increasing positions) of `utt`, (len(wanted), F), with `steps` done to their stretch."""
        (source, factor), rate_hz = self._source(utt), self._fbank.rate_hz
        rxfilename, begin_s, _ = self._spans[source]
        seconds = span_seconds(*self._spans[source])
        first = max(0, int(wanted[0]) - self._margin)
        last_sample = (int(wanted[-1]) + self._margin) * self._shift + self._length
        from_s = first * self._shift * factor / rate_hz                    # in the source, which goes at its own speed
        to_s = min(seconds, last_sample * factor / rate_hz)
        begin_s = begin_s or 0
        try:
            samples = audio.read_utterance(rxfilename, rate_hz, self._resample, self._channel,
                                           begin_s + from_s, begin_s + to_s)
            if factor != 1:
                steps = (Speed(factor), *steps)
            if steps:
                samples = self._augmenter.apply(samples, rate_hz, steps)
            feats = self._fbank(samples, utt)
        except UserError as fault:
            raise UserError(f'utterance "{utt}": {fault}') from None
        # A resampler may round the last sample away, and with it the utterance's last frame: its neighbour stands in.
        return feats[np.minimum(wanted - first, len(feats) - 1)]
