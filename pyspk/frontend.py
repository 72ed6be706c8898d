"""Training from waveforms with a GPU: workers only read samples, the device augments them and computes the features.

The third way to the same chunks, beside features that are read (chunks.FeatureReader) and features that workers compute
(waves.WaveReader): what a sample is, and what is done to it, is drawn as there. Speed is the exception: sped-up copies
are resampled by the workers, since they make other speakers, each with a length of its own.

Voice activity is decided before: a batch says which frames of each wave it wants, and only these are cut out of the
waves and transformed. The pauses between them are there while rooms and noise are added, as in WaveReader.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pyspk.augment.batched import add_noise, reverberate
from pyspk.augment.description import Reverb
from pyspk.chunks import ChunkBatches
from pyspk.features.batched import BatchedFbank
from pyspk.waves import Stretch, WaveReader, naming

_MOST_STRETCH = 4      # times the chunk's length: so long may a pause make the longest stretch of a batch
_LENGTH_STEP = 4096    # of S and K, so that few sizes occur and the device's memory and FFT plans serve again
_INT16 = np.iinfo(np.int16)


class WaveBatch(NamedTuple):
    """What Frontend makes the features of B chunks of T frames from: N of them with noise, R of them in a room."""

    waves: Tensor         # (B, S) int16: of each the stretch of its recording, then zeros
    n_samples: Tensor     # (B,) int64, length of each stretch
    frames: Tensor        # (B, T) int64, which frames of the stretch the chunk consists of
    noisy: Tensor         # (N,) int64, to which of the B noise is added,
    noise: Tensor         # (N, S) float32, the noise of each, then zeros,
    snr_db: Tensor        # (N,) float32, and at which ratio
    in_rooms: Tensor      # (R,) int64, which of the B are heard in a room,
    rirs: Tensor          # (R, K) float32, the impulse response of each, then zeros,
    direct: Tensor        # (R,) int64, and its direct path

    def to(self, device: torch.device, non_blocking: bool = False) -> "WaveBatch":
        """The same on `device`; non_blocking: the copy from pinned memory goes on while the caller does."""
        return WaveBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


class WaveBatches(ChunkBatches):
    """The batches of one epoch: item i is (WaveBatch, spk (B,) int64), for the samples that ChunkBatches has.

    They are made by a WaveReader, whose augmenter and arguments decide; but a chunk whose voiced frames are spread over
    more than 4 times its length consists of those in the first part of it, repeated. Samples are rounded to int16,
    which changes only those of recordings with more than 16 bits, of a mix of channels, or at another rate or speed:
    where that leaves a band empty, as above 7200 Hz at speed 0.9, the features then show the rounding, as they do of
    what sox writes for Kaldi.
    """

    _reader: WaveReader

    def __getitem__(self, i: int) -> tuple[WaveBatch, Tensor]:
        """Batch i. Raises IndexError past the end, UserError for an utterance or recording that cannot be read."""
        utts, most_frames = self.names(i), _MOST_STRETCH * self._chunk_frames
        stretches = [self._reader.stretch(utt, self._chunk_frames, place, most_frames)
                     for utt, place in zip(utts, self._places[i], strict=True)]
        return self._batch(utts, stretches), torch.from_numpy(self._spk_ids[self._order[i]])

    def _batch(self, utts: Sequence[str], stretches: Sequence[Stretch]) -> WaveBatch:
        """The stretches of `utts`, and what is read for their steps."""
        noises: list[tuple[int, np.ndarray, float]] = []      # (row, noise, ratio)
        rooms: list[tuple[int, np.ndarray, int]] = []         # (row, impulse response, direct path)
        for row, (utt, (samples, _, steps)) in enumerate(zip(utts, stretches, strict=True)):
            with naming(utt):
                for step in steps:
                    if isinstance(step, Reverb):
                        rooms.append((row, *self._response(step, len(samples))))
                    elif (noise := self._reader.augmenter.noise(step, self._reader.rate_hz, len(samples))) is not None:
                        noises.append((row, noise, step.snr_db))
        longest = max(len(samples) for samples, _, _ in stretches)
        return WaveBatch(
            waves=_stacked([_rounded(samples) for samples, _, _ in stretches], longest, torch.int16),
            n_samples=torch.tensor([len(samples) for samples, _, _ in stretches]),
            frames=torch.from_numpy(np.stack([frames for _, frames, _ in stretches])),
            noisy=torch.tensor([row for row, _, _ in noises], dtype=torch.int64),
            noise=_stacked([noise for _, noise, _ in noises], longest, torch.float32),
            snr_db=torch.tensor([snr_db for _, _, snr_db in noises], dtype=torch.float32),
            in_rooms=torch.tensor([row for row, _, _ in rooms], dtype=torch.int64),
            rirs=_stacked([rir for _, rir, _ in rooms], max([0, *(len(rir) for _, rir, _ in rooms)]), torch.float32),
            direct=torch.tensor([direct for _, _, direct in rooms], dtype=torch.int64))

    def _response(self, step: Reverb, n_samples: int) -> tuple[np.ndarray, int]:
        """As much of the impulse response as can be heard in n_samples, and its direct path."""
        rir, direct = self._reader.augmenter.response(step, self._reader.rate_hz)
        return rir[:direct + n_samples], direct


class Frontend(nn.Module):
    """WaveBatch to features (B, T, F) float32, with each chunk's mean subtracted: rooms, then noise, then fbank.

    conf: options of Fbank, those of the WaveReader. What comes out is what WaveReader.chunk gives, but for dither and
    for the last digits of float32. All of a batch is done at once on its device, and nothing waits for the device.
    """

    def __init__(self, conf: Mapping[str, str]):
        super().__init__()
        self.fbank = BatchedFbank(conf)

    def forward(self, batch: WaveBatch) -> Tensor:
        """Features (B, T, F) float32, also under autocast; batch: on the module's device."""
        with torch.autocast(batch.waves.device.type, enabled=False):
            feats = self.fbank(augmented(batch), batch.frames, batch.n_samples)      # (B, T, F)
            return feats - feats.mean(dim=1, keepdim=True)


def augmented(batch: WaveBatch) -> Tensor:
    """The waves of a batch with all that is to be done to them, (B, S) float32."""
    waves = batch.waves.float()
    if len(batch.in_rooms):
        rows = batch.in_rooms
        heard = reverberate(waves[rows], batch.n_samples[rows], batch.rirs, batch.direct)
        waves = waves.index_copy(0, rows, heard)
    if len(batch.noisy):
        rows = batch.noisy
        noisy = add_noise(waves[rows], batch.n_samples[rows], batch.noise, batch.snr_db)
        waves = waves.index_copy(0, rows, noisy)
    return waves


def _stacked(pieces: Sequence[np.ndarray], longest: int, dtype: torch.dtype) -> Tensor:
    """Arrays (n_i,) as one (len(pieces), n), zeros behind each; n: `longest` or some more, in whole steps."""
    stacked = torch.zeros(len(pieces), -(-longest // _LENGTH_STEP) * _LENGTH_STEP, dtype=dtype)
    for row, piece in zip(stacked.numpy(), pieces, strict=True):
        row[:len(piece)] = piece
    return stacked


def _rounded(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples), _INT16.min, _INT16.max)
