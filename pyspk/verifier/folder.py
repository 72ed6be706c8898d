"""A model folder that stands by itself: copied to another machine, it is all that a recording's embedding needs.

    final.pt           the network
    model.json         how its features are made; which files the folder consists of, each with a hash
    mean.vec           the vector that is taken off each embedding before scoring, where there is one
    calibration.json   from scores to log-likelihood ratios and thresholds, where there is one
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from pyspk.calibration import Calibration
from pyspk.errors import UserError
from pyspk.features import FeatureSettings, VoicedFeatures
from pyspk.model import FINAL, load_model
from pyspk.tables.archive import read_vector
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import read_text

SYSTEM, MEASURES = "cosine", ("duration", "norm")      # what a Verifier knows of a pair, by calibrate.py's names
MODEL, MEAN, CALIBRATION, CONFIG = "model.json", "mean.vec", "calibration.json", "config.toml"


class Model(NamedTuple):
    """What a model folder holds."""

    net: nn.Module                       # in evaluation mode
    settings: Mapping[str, object]       # that build it
    feature_settings: FeatureSettings
    features: VoicedFeatures
    mean: np.ndarray | None              # (D,) float32
    calibration: Calibration | None
    network_id: str                      # the hash of final.pt: embeddings of another network are no match


def write_folder(out: Path, exp: Path, features: FeatureSettings, mean: Path | None = None,
                 calibration: Path | None = None) -> None:
    """Write the model folder `out` from the experiment `exp`, which may be the same folder; model.json is last.

    mean, calibration: the files that become mean.vec and calibration.json. config.toml comes along where there is one,
    for people. What `check` refuses must have been refused before.
    """
    sources = {FINAL: exp / FINAL, MEAN: mean, CALIBRATION: calibration}
    config = exp / CONFIG
    for name, source in {**sources, CONFIG: config if config.exists() else None}.items():
        if source is not None and source.resolve() != (out / name).resolve():
            with source.open("rb") as there, atomic_write(out / name, "wb") as here:
                shutil.copyfileobj(there, here)
    files = {name: _hash(out / name) for name, source in sources.items() if source is not None}
    with atomic_write(out / MODEL) as file:
        json.dump({"files": files, "features": asdict(features)}, file, indent=1)
        file.write("\n")


def check(exp: Path, features: FeatureSettings, mean: Path | None = None, calibration: Path | None = None) -> None:
    """Raise UserError when the network in `exp`, its features, the mean and the calibration do not go together."""
    net, settings = load_model(exp)
    if (dim := VoicedFeatures(features).dim) != settings["feat_dim"]:
        raise UserError(f"{exp / FINAL}: the network reads features of {settings['feat_dim']} dimensions, but these "
                        f"settings make {dim}")
    if mean is not None:
        _check_mean(mean, read_vector(mean), net)
    if calibration is not None:
        load_calibration(calibration)


def read_folder(folder: str | Path, device: torch.device | str = "cpu") -> Model:
    """The model folder, its network on `device`.

    Raises UserError when model.json is missing or damaged, and when a file that it lists is missing or another one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder")
    files, features = _read_model(folder)
    for name, known in files.items():
        if not (folder / name).exists():
            raise UserError(f"{folder / name}: missing; copy the folder again, as a whole")
        if _hash(folder / name) != known:
            raise UserError(f"{folder / name}: not the file that {MODEL} was written for; copy the folder again, or, "
                            "where it was trained anew, run export_model.py again")
    net, settings = load_model(folder, device)
    mean = read_vector(folder / MEAN) if MEAN in files else None
    if mean is not None:
        _check_mean(folder / MEAN, mean, net)
    return Model(net, settings, features, VoicedFeatures(features), mean,
                 load_calibration(folder / CALIBRATION) if CALIBRATION in files else None, files[FINAL])


def _read_model(folder: Path) -> tuple[dict[str, str], FeatureSettings]:
    """({file: its hash}, how features are made) of model.json."""
    path = folder / MODEL
    if not path.exists():
        raise UserError(f"{path}: no such file; it says how the features of this network are made, and "
                        "export_model.py EXP_DIR DATA_DIR writes it")
    try:
        saved = json.loads(read_text(path))
        files, features = saved["files"], FeatureSettings.from_dict(saved["features"])
        if not {FINAL} <= files.keys() <= {FINAL, MEAN, CALIBRATION}:
            raise ValueError(f"its files are {', '.join(files)}")
    except (ValueError, TypeError, KeyError, AttributeError) as fault:
        raise UserError(f"{path}: damaged ({fault}); run export_model.py again") from None
    return files, features


def speaks_against(calibration: Calibration) -> bool:
    """Whether a higher cosine makes one speaker less likely by it, so that what it was trained on told nothing."""
    return not calibration.systems.get(SYSTEM, 1.0) > 0


def load_calibration(path: Path) -> Calibration:
    """The calibration in `path`. Raises UserError as Calibration.load does, and when Verifier cannot apply it."""
    calibration = Calibration.load(path)
    measures = dict.fromkeys(name.rpartition(".")[0] for name in calibration.qualities)
    if list(calibration.systems) != [SYSTEM] or not measures.keys() <= set(MEASURES):
        raise UserError(f"{path}: a calibration of {', '.join([*calibration.systems, *measures])}; of a pair of "
                        f"recordings the score {SYSTEM} is known, and the quality measures {', '.join(MEASURES)}, so "
                        "give calibrate.py no others")
    if speaks_against(calibration):
        raise UserError(f"{path}: with it a higher score speaks against one speaker, so the scores it was trained on "
                        "tell nothing; calibrate on others")
    return calibration


def _check_mean(path: Path, mean: np.ndarray, net: nn.Module) -> None:
    dim = net.embedding.out_features
    if mean.shape != (dim,):
        raise UserError(f"{path}: a mean of {len(mean)} dimensions, but the network's embeddings have {dim}; it must "
                        "come from the same model")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
