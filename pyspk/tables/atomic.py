"""Files that appear whole or not at all: written beside, flushed, synced, renamed."""

import errno
import os
import time
from collections.abc import Iterable, Iterator
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


def await_files(paths: Iterable[Path], patience_s: float = 20.0) -> None:
    """Return when all are there, or after patience_s: network file systems show late what another machine wrote."""
    give_up = time.monotonic() + patience_s
    while (late := [path for path in paths if not path.exists()]) and time.monotonic() < give_up:
        for folder in {path.parent for path in late if path.parent.exists()}:
            list(folder.iterdir())      # has the file system ask anew what there is
        time.sleep(0.1)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
