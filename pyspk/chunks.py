"""Features of utterances, whole or in chunks, and the batches that training reads.

What is a sample of an epoch depends on the seed, the epoch and the sample's number, on nothing else: not on the number
of workers, nor on where a run was interrupted.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader


class FeatureReader:
    """Reads the voiced frames of utterances, (T, F) float32, with the mean over the frames read subtracted.

    feats, vad: utterance -> rxfilename; without vad every frame counts as voiced. utt2spk: their speakers, for who asks
    for them. `dim` is F, the same for all.
    """

    def __init__(self, feats: Mapping[str, str], vad: Mapping[str, str] | None = None,
                 utt2spk: Mapping[str, str] | None = None):
        self._feats, self._vad = feats, vad
        self.utt2spk = utt2spk or {}
        self._archives = ArchiveReader()
        self.dim = self._archives.shape(next(iter(feats.values())))[1]

    @classmethod
    def from_data_dir(cls, data: DataDir) -> "FeatureReader":
        """Of feats.scp and, where it exists, vad.scp."""
        return cls(data.table("feats.scp"), data.table("vad.scp") if data.has("vad.scp") else None, data.utt2spk)

    def __getstate__(self) -> tuple:
        return self._feats, self._vad      # a worker process maps the archives for itself

    def __setstate__(self, state: tuple) -> None:
        self.__init__(*state)

    def whole(self, utt: str) -> np.ndarray:
        """All voiced frames."""
        n_frames, voiced = self._voiced(utt)
        feats = _of(utt, self._archives.matrix, self._feats[utt])
        return centred(feats if voiced is None or len(voiced) == n_frames else feats[voiced])

    def chunk(self, utt: str, n_frames: int, place: float) -> np.ndarray:
        """n_frames consecutive voiced frames; place in [0, 1) says where. A shorter utterance repeats from its start.

        Only the rows from the first to the last of these frames are read and decoded.
        """
        n_all, voiced = self._voiced(utt)
        n_voiced = n_all if voiced is None else len(voiced)
        start = int(place * max(1, n_voiced - n_frames + 1))
        stop = min(start + n_frames, n_voiced)
        if voiced is None:
            feats = _of(utt, self._archives.matrix, self._feats[utt], start, stop)
        else:
            wanted = voiced[start:stop]
            feats = _of(utt, self._archives.matrix, self._feats[utt], wanted[0], wanted[-1] + 1)[wanted - wanted[0]]
        if len(feats) < n_frames:
            feats = feats[np.arange(n_frames) % len(feats)]
        return centred(feats)

    def _voiced(self, utt: str) -> tuple[int, np.ndarray | None]:
        """(number of frames, positions of the voiced ones or None for all)."""
        if utt not in self._feats:
            raise UserError(f'utterance "{utt}" is not in feats.scp')
        n_frames, dim = _of(utt, self._archives.shape, self._feats[utt])
        if dim != self.dim:
            raise UserError(f'utterance "{utt}" has features of {dim} dimensions, others have {self.dim}; '
                            "make them all with the same options")
        if n_frames == 0:
            raise UserError(f'utterance "{utt}" has no frames: {self._feats[utt]}')
        if self._vad is None:
            return n_frames, None
        decisions = _of(utt, self._archives.vector, self._vad[utt])
        if len(decisions) != n_frames:
            raise UserError(f'utterance "{utt}" has {n_frames} frames, but {len(decisions)} decisions in vad.scp; '
                            "make vad.scp again from these features")
        voiced = np.flatnonzero(decisions)
        return n_frames, voiced if len(voiced) else None      # no voice at all: better all frames than none


class ChunkBatches(Dataset):
    """The batches of one epoch: item i is (feats (B, T, F) float32, spk (B,) int64).

    balance "utterance": each utterance comes once, in random order, before any comes again; "speaker": each speaker
    does, with one of her utterances at random. The epoch has `n_samples` samples, rounded up to whole batches. A
    chunk's place in its utterance is random. rows: which of each batch's B rows are wanted; the others are somebody
    else's.
    """

    def __init__(self, reader: FeatureReader, utts: Sequence[str], spk_ids: Sequence[int], chunk_frames: int,
                 batch_size: int, n_samples: int, seed: int, epoch: int, balance: str = "utterance",
                 rows: slice = slice(None)):
        self._reader, self._utts, self._spk_ids = reader, utts, np.asarray(spk_ids)
        self._chunk_frames = chunk_frames
        n_batches = -(-n_samples // batch_size)
        rng = np.random.default_rng([seed, epoch])
        order = BALANCES[balance](self._spk_ids, n_batches * batch_size, rng)
        self._order = order.reshape(n_batches, batch_size)[:, rows]
        self._places = rng.random((n_batches, batch_size))[:, rows]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Batch i. Raises IndexError past the end, UserError for an utterance that cannot be read."""
        feats = np.stack([self._reader.chunk(self._utts[j], self._chunk_frames, place)
                          for j, place in zip(self._order[i], self._places[i], strict=True)])
        return torch.from_numpy(feats), torch.from_numpy(self._spk_ids[self._order[i]])

    def names(self, i: int) -> list[str]:
        """The utterances of batch i."""
        return [self._utts[j] for j in self._order[i]]


def _each_utterance(spk_ids: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances (n_samples,): whole random orders of all of them, one after the other."""
    return _rounds(len(spk_ids), n_samples, rng)


def _each_speaker(spk_ids: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Utterances (n_samples,): whole random orders of the speakers, and any utterance of each."""
    by_speaker = np.argsort(spk_ids, kind="stable")
    _, first, count = np.unique(spk_ids[by_speaker], return_index=True, return_counts=True)
    spk = _rounds(len(first), n_samples, rng)
    return by_speaker[first[spk] + (rng.random(n_samples) * count[spk]).astype(np.int64)]


def _rounds(n: int, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.permutation(n) for _ in range(-(-n_samples // n))])[:n_samples]


BALANCES = {"utterance": _each_utterance, "speaker": _each_speaker}


def _of(utt: str, read: Callable, *where):
    """read(*where), with the utterance named when it cannot be read."""
    try:
        return read(*where)
    except UserError as fault:
        raise UserError(f'utterance "{utt}": {fault}') from None


def centred(feats: np.ndarray) -> np.ndarray:
    """Features (T, F) float32 less their mean over the frames."""
    return feats - feats.mean(axis=0, dtype=np.float64).astype(np.float32)
