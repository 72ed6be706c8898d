"""Enrolled speakers in a folder, one JSON file each: NAME.json."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write
from pyspk.tables.text import read_text
from pyspk.verifier.verify import Voice

_SUFFIX = ".json"


def check_name(folder: Path, name: str, overwrite: bool) -> Path:
    """The file of the speaker `name`. Raises UserError for a name that no file can have, or that somebody has."""
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise UserError(f'the name "{name}": it becomes the name of a file, so it needs a first character other than '
                        '".", and no "/"')
    path = folder / f"{name}{_SUFFIX}"
    if path.exists() and not overwrite:
        raise UserError(f"{path}: {name} is enrolled; choose another name, or --overwrite")
    return path


def write_voice(path: Path, voice: Voice, network_id: str, files: Sequence[str]) -> None:
    """Write an enrolled speaker. network_id: of the network that made the embedding; files: what it was made of."""
    with atomic_write(path) as file:
        json.dump({"network": network_id, "voice_s": round(voice.voice_s, 3), "files": list(files),
                   "embedding": voice.emb.tolist()}, file)
        file.write("\n")


def read_voices(folder: str | Path, network_id: str) -> dict[str, Voice]:
    """The speakers enrolled in `folder`, name -> voice.

    Raises UserError when there is none, for a damaged file, and for one that another network made.
    """
    paths = sorted(Path(folder).glob(f"*{_SUFFIX}"))
    if not paths:
        raise UserError(f"{folder}: nobody is enrolled there; pyspk enroll NAME FILE... does that")
    return {path.stem: _read(path, network_id) for path in paths}


def _read(path: Path, network_id: str) -> Voice:
    try:
        saved = json.loads(read_text(path))
        emb, voice_s, network = np.array(saved["embedding"], np.float32), float(saved["voice_s"]), saved["network"]
        if emb.ndim != 1 or not np.isfinite(emb).all():
            raise ValueError("its embedding is none")
        if not 0 < voice_s < math.inf:
            raise ValueError(f"it has {voice_s:g} s of voice")
    except (ValueError, TypeError, KeyError) as fault:
        raise UserError(f"{path}: no enrolled speaker, or damaged ({fault}); remove it, or enroll again") from None
    if network != network_id:
        raise UserError(f"{path}: enrolled with another network, whose embeddings mean something else; enroll again "
                        "with this one")
    return Voice(emb, voice_s)
