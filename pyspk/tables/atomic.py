"""Files that appear whole or not at all: written beside, flushed, synced, renamed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


def temporary_path(path: Path) -> Path:
    """Where `path` is written until it is whole. The name is fixed, so a rerun replaces what a kill left behind."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """A file open for writing that takes the name `path` when the block ends without an exception.

    mode: "w" (UTF-8 text) or "wb". Directories on the way are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        with temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        commit(temporary, path)
    except BaseException as fault:
        temporary.unlink(missing_ok=True)
        if isinstance(fault, OSError) and fault.errno in _DISK_IS_FULL and fault.filename is None:
            fault.filename = str(path)      # a write that fails does not say where
        raise


def commit(temporary: Path, path: Path) -> None:
    """Sync the finished file `temporary` to the disk and give it its name `path`."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
