"""The features that a network was trained on, from any samples: what a model folder has to know to hear a recording."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from pyspk.errors import UserError
from pyspk.features.spectral import Fbank, Mfcc
from pyspk.features.vad import EnergyVad
from pyspk.tables.matrix import AUTOMATIC, encode, parse_head

KINDS = ("fbank", "mfcc")


@dataclass(frozen=True)
class FeatureSettings:
    """How the features of a data directory were made. Raises UserError for another kind than fbank and mfcc."""

    kind: str = "fbank"
    conf: Mapping[str, str] | None = None      # Kaldi's options; None: the defaults
    add_deltas: bool = False                   # of mfcc
    compress: bool = True                      # one byte a value, as in the archives that the network was trained on
    vad: Mapping[str, str] | None = None       # Kaldi's options of the energy VAD; None: every frame counts

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f'features "{self.kind}": the features are {", ".join(KINDS)}')

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "FeatureSettings":
        """The settings that dataclasses.asdict made `values` of. Raises UserError for an unknown one."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(values.keys() - set(known)):
            raise UserError(f'no setting of features is called "{unknown[0]}"; the settings are {", ".join(known)}')
        return cls(**values)


class VoicedFeatures:
    """Samples (S,) float32 on the int16 scale at `rate_hz` to the features (T, F) float32 of the voiced frames.

    `dim` is F. The values are those that make_fbank.py or make_mfcc.py, and compute_vad.py, write with the same
    settings. Raises UserError for options that Fbank, Mfcc or EnergyVad refuse.
    """

    def __init__(self, settings: FeatureSettings):
        conf = settings.conf or {}
        self._extract = Mfcc(conf, settings.add_deltas) if settings.kind == "mfcc" else Fbank(conf)
        self._vad = None if settings.vad is None else EnergyVad(dict(settings.vad))
        self._compress = settings.compress
        self.rate_hz, self.dim = self._extract.rate_hz, self._extract.dim
        self.frame_shift_ms = self._extract.frame_shift_ms

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Features (T, F) of the voiced frames; T is 0 where there is no voice.

        Raises UserError when the samples are shorter than one frame.
        """
        feats, decisions = self.frames(samples), self.decisions(samples)
        return feats if decisions is None else feats[decisions != 0]

    def frames(self, samples: np.ndarray, utt: str = "") -> np.ndarray:
        """Features (T, F) of all frames. utt: seeds dither, where it is asked for. Raises UserError as a call does."""
        feats = self._extract(samples, utt)
        if not self._compress:
            return feats
        stored = encode(feats, AUTOMATIC)      # and read again: a byte a value is coarse enough to move a score
        head = parse_head(stored)
        return head.decode(np.frombuffer(stored, np.uint8, offset=head.n_head_bytes))

    def decisions(self, samples: np.ndarray) -> np.ndarray | None:
        """1.0 for each voiced frame and 0.0 for the others, (T,) float32; None where every frame counts."""
        return None if self._vad is None else self._vad(self._extract.log_energy(samples))
