"""What a step made its output from: beside each output a record of settings and inputs.

A rerun compares and knows whether the output is current, was begun, or was made from something else. The record is
written before the output takes its name, and an old output is removed before the record changes, so that a kill at any
moment leaves no output under a record that is not its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write


class State(Enum):
    """How an output stands to the settings and inputs of this run."""

    CURRENT = "current"      # there, and made from the same
    BEGUN = "begun"          # not there, but parts of it were made from the same: go on
    NEW = "new"              # nothing of it is there


def begin(output: str | Path, settings: Mapping[str, object], inputs: Mapping[str, str | Path],
          overwrite: bool = False, parts: Sequence[Path] = ()) -> State:
    """How `output` stands; when it must be made (or made anew), the record of this run is left beside it.

    settings: JSON values that decide the content. inputs: name -> file that was read. parts: files made on the way to
    `output` that are guarded like it, and removed with it when it is made anew.
    Raises UserError when `output` was made from something else, naming the differences, unless `overwrite`.
    """
    output = Path(output)
    record_path = output.parent / ".made" / f"{output.name}.json"
    now = {"settings": json.loads(json.dumps(dict(settings))),
           "inputs": {name: fingerprint(path) for name, path in inputs.items()}}
    before = json.loads(record_path.read_text()) if record_path.exists() else None
    if before == now:
        return State.CURRENT if output.exists() else State.BEGUN
    there = [path for path in (output, *parts) if path.exists()]
    if there and not overwrite:
        reason = _difference(before, now) if before else "it was not made by this step"
        raise UserError(f"{there[0]} exists, but {reason}; --overwrite makes it anew, or choose another place")
    for path in there:
        path.unlink()
    with atomic_write(record_path) as file:
        json.dump(now, file, indent=1, sort_keys=True)
        file.write("\n")
    return State.NEW


def fingerprint(path: str | Path) -> str:
    """A hash of the file's content and, where a step of ours made it, of its record (so of all that it came from)."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    digest = _content_hash(path, path.stat().st_size, path.stat().st_mtime_ns)
    record = path.parent / ".made" / f"{path.name}.json"
    if record.exists():
        digest += hashlib.sha256(record.read_bytes()).hexdigest()[:16]
    return digest


@lru_cache(maxsize=64)
def _content_hash(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _difference(before: dict, now: dict) -> str:
    changed = []
    for kind in ("settings", "inputs"):
        for key in sorted(before[kind].keys() | now[kind].keys()):
            old, new = before[kind].get(key), now[kind].get(key)
            if old != new:
                changed.append(f"{key} was {old}, is {new}" if kind == "settings" else f"its input {key} has changed")
    return "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
