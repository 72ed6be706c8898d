"""How the features of a data directory were made: by its records, or as a person says; and proven on a recording."""

import logging
from collections.abc import Mapping

import numpy as np

from pyspk.audio import utterance_reader
from pyspk.datadir import DataDir
from pyspk.errors import UserError
from pyspk.features import FeatureSettings, VoicedFeatures
from pyspk.tables.archive import ArchiveReader
from pyspk.tables.records import settings_of

log = logging.getLogger("pyspk")
_ALIKE = 0.1              # of log-mel values: what is left of a byte a value by another writer, and of another dither
_LEAST_AGREEMENT = 0.95   # of voice activity decisions


def feature_settings(data: DataDir, kind: str | None = None, conf: Mapping[str, str] | None = None,
                     vad: Mapping[str, str] | None = None) -> FeatureSettings:
    """How feats.scp and vad.scp of `data` were made.

    By the records of make_fbank.py or make_mfcc.py, and compute_vad.py, where these made them; else as kind and conf,
    and vad, say. Raises UserError where neither says it, and where both do and differ.
    """
    feats = settings_of(data.path / "feats.scp") or {}
    if not {"conf", "compress"} <= feats.keys():
        if kind is None:
            raise UserError(f"{data.path / 'feats.scp'}: no record says how it was made; give the options that it was "
                            "made with: --fbank-config FILE or --mfcc-config FILE")
        feats = {"features": kind, "conf": dict(conf), "compress": False}
    elif kind is not None and (kind, dict(conf)) != (feats.get("features", "fbank"), feats["conf"]):
        raise UserError(f"{data.path / 'feats.scp'}: made with other options than --{kind}-config says: "
                        f"{feats['conf']}; leave the option out")
    voice = _vad_settings(data, vad)
    return FeatureSettings(feats.get("features", "fbank"), feats["conf"], feats.get("add_deltas", False),
                           feats["compress"], voice)


def _vad_settings(data: DataDir, vad: Mapping[str, str] | None) -> Mapping[str, str] | None:
    path = data.path / "vad.scp"
    if not data.has("vad.scp"):
        if vad is not None:
            raise UserError(f"{path}: no such file, so that every frame counts; leave --vad-config out")
        return None
    made = (settings_of(path) or {}).get("vad")
    if made is None and vad is None:
        raise UserError(f"{path}: no record says how it was made; give the options that it was made with: --vad-config "
                        "FILE")
    if None not in (made, vad) and made != dict(vad):
        raise UserError(f"{path}: made with other options than --vad-config says: {made}; leave the option out")
    return vad if made is None else made


def prove(settings: FeatureSettings, data: DataDir) -> str:
    """The utterance, the first of `data`, whose recording gives its features and voice activity with these settings.

    Raises UserError, with the difference, when it does not.
    """
    features, utt = VoicedFeatures(settings), next(iter(data.utt2spk))
    reader = ArchiveReader()
    stored = reader.matrix(data.table("feats.scp")[utt])
    channel = (settings_of(data.path / "feats.scp") or {}).get("channel")
    samples = utterance_reader(data, features.rate_hz, True, channel)(utt)
    ours = features.frames(samples, utt)
    where = f'{data.path}: the features of utterance "{utt}" are not those of its recording with these options'
    if ours.shape != stored.shape:
        raise UserError(f"{where}: {stored.shape[0]} frames of {stored.shape[1]} dimensions, not {ours.shape[0]} of "
                        f"{ours.shape[1]}")
    if not (difference := float(np.median(np.abs(ours - stored)))) <= _ALIKE:
        raise UserError(f"{where}: the median difference is {difference:.3g}; were they normalised, or augmented? Give "
                        "a directory with features as make_fbank.py writes them")
    decisions = features.decisions(samples)
    if decisions is not None:
        agreement = float(np.mean(decisions == reader.vector(data.table("vad.scp")[utt])))
        if agreement < _LEAST_AGREEMENT:
            raise UserError(f'{data.path}: of the decisions in vad.scp on utterance "{utt}" only {agreement:.0%} are '
                            "those of its recording with these options")
    return utt
