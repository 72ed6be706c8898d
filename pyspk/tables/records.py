"""What a step made its output from: beside each output a record of settings and inputs.

A rerun compares and knows whether the output is current, was begun, or was made from something else. The record is
written before the output takes its name, and an old output is removed before the record changes, so that a kill at any
moment leaves no output under a record that is not its own.
"""

import fcntl
import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import IO

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write, not_through_links
from pyspk.tables.text import read_text

_PATIENCE_S = 3.0      # a run that was just killed may take a moment to die


class State(Enum):
    """How an output stands to the settings and inputs of this run."""

    CURRENT = "current"      # there, and made from the same
    BEGUN = "begun"          # not there, but parts of it were made from the same: go on
    NEW = "new"              # nothing of it is there


def begin(output: str | Path, settings: Mapping[str, object], inputs: Mapping[str, str | Path],
          overwrite: bool = False, parts: Sequence[Path] = (), scraps: Sequence[Path] = (),
          along: Sequence[Path] = ()) -> State:
    """How `output` stands; when it must be made (or made anew), the record of this run is left beside it.

    settings: JSON values that decide the content. inputs: name -> file that was read. parts: files made on the way to
    `output` that are guarded like it, and removed with it when it is made anew. scraps: files of an unfinished output,
    good for going on and for nothing else; removed when it is made anew.
    along: what `output` is of no use without; while one of these is missing `output` is not current, but begun.
    Until this process ends no other can begin the same output. Raises UserError when one holds it, and when `output`
    was made from something else, naming the differences, unless `overwrite`; and when an input is one of the files to
    be written.
    """
    output = Path(output)
    _refuse_own_input(inputs, (output, *parts))
    record_path = _record_of(output)
    now = {"settings": json.loads(json.dumps(dict(settings))),
           "inputs": {name: fingerprint(path) for name, path in inputs.items()}}
    before = _read(record_path)
    if before == now and all(path.exists() for path in (output, *along)):
        return State.CURRENT
    there = [path for path in (output, *parts) if path.exists()]
    if before != now and there and not overwrite:
        reason = difference(before, now) if before else "it was not made by this step"
        raise UserError(f"{there[0]} exists, but {reason}; --overwrite makes it anew, or choose another place")
    hold(output)
    if before == now:
        if along:
            output.unlink(missing_ok=True)      # it must not be there before the rest is
        return State.BEGUN
    for path in (*there, *scraps):
        path.unlink(missing_ok=True)
    with atomic_write(record_path) as file:
        json.dump(now, file, indent=1, sort_keys=True)
        file.write("\n")
    return State.NEW


_held: dict[Path, IO] = {}      # open for as long as this process lives: the kernel lets go of the locks when it ends


def hold(output: Path) -> None:
    """Let no other process make `output` until this one ends. Raises UserError when one does, after some patience."""
    lock_path = _record_of(output.absolute()).with_name(f".{output.name}.lock")
    if lock_path in _held:
        return
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_others(lock_path.parent)
    lock = open(lock_path, "a+", opener=not_through_links)      # noqa: SIM115  (held; in it stays who holds it)
    patience = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > patience:
                holder = lock_path.read_text().strip() or "another process"
                lock.close()
                raise UserError(f"{holder} is making {output} at this moment; wait for it, or end it") from None
            time.sleep(0.1)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    _held[lock_path] = lock


def fingerprint(path: str | Path) -> str:
    """A hash of the file's content and of what that rests on.

    That is its record, where a step of ours made it (so all that it came from), and size and time of the archives that
    an scp points into.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    digest = _content_hash(path, path.stat().st_size, path.stat().st_mtime_ns)
    for below in (_record_of(path), *_archives(path)):
        if below.exists():
            facts = below.stat()
            content = below.read_bytes() if below.suffix == ".json" else f"{facts.st_size} {facts.st_mtime_ns}".encode()
            digest = hashlib.sha256(digest.encode() + content).hexdigest()[:16]
    return digest


def settings_of(output: str | Path) -> dict | None:
    """The settings that `output` was made with, as the step that made it gave them; None where no record says so."""
    record = _read(_record_of(Path(output)))
    return record and record["settings"]


def _refuse_own_input(inputs: Mapping[str, str | Path], written: Sequence[Path]) -> None:
    places = {path.resolve() for path in written}
    for name, path in inputs.items():
        if Path(path).resolve() in places:
            raise UserError(f"{path}: is to be written, and is read as well ({name}), so it would be lost; choose "
                            "another place for the output")


def _record_of(path: Path) -> Path:
    return path.parent / ".made" / f"{path.name}.json"


def _refuse_others(folder: Path) -> None:
    """Raise UserError for a folder of records that another user put where everybody may write, as into /tmp."""
    owner = folder.lstat().st_uid
    if folder.is_symlink() or (folder.parent.stat().st_mode & stat.S_ISVTX and owner not in (os.geteuid(), 0)):
        raise UserError(f"{folder}: {'a symbolic link' if folder.is_symlink() else f'of user {owner}'}, and could lead "
                        "what is written anywhere; choose a folder of your own for the output")


def _read(record: Path) -> dict | None:
    try:
        return json.loads(record.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{record}: damaged; remove it and {record.parents[1] / record.stem}") from None


def _archives(path: Path) -> list[Path]:
    """The archives of an scp, each once; none for any other file."""
    if path.suffix != ".scp":
        return []
    places = (line.split(None, 1)[-1].rpartition(":") for line in read_text(path).splitlines() if line.strip())
    return [Path(ark) for ark in dict.fromkeys(ark for ark, _, offset in places if ark and offset[:1].isdigit())]


@lru_cache(maxsize=64)
def _content_hash(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def difference(before: dict, now: dict) -> str:
    """In words, where two records differ: {"settings": {...}, "inputs": {...}} each."""
    changed = []
    for kind in ("settings", "inputs"):
        for key in sorted(before[kind].keys() | now[kind].keys()):
            old, new = before[kind].get(key), now[kind].get(key)
            if old != new:
                changed.append(f"{key} was {old}, is {new}" if kind == "settings" else f"its input {key} has changed")
    return "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
