"""Files that appear whole or not at all: written beside, flushed, synced, renamed.

Until then nobody else can read them, and in a folder where everybody may write, as /tmp is, nobody can have them
written through a link of his.
"""

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
    with nothing_left(path):
        with open_private(temporary_path(path), mode) as file:
            yield file
        commit(temporary_path(path), path)


@contextmanager
def nothing_left(path: Path) -> Iterator[None]:
    """Around what writes temporary_path(path): an exception removes it, and one of a full disk names `path`."""
    try:
        yield
    except BaseException as fault:
        temporary_path(path).unlink(missing_ok=True)
        if isinstance(fault, OSError) and fault.errno in _DISK_IS_FULL and fault.filename is None:
            fault.filename = str(path)      # a write that fails does not say where
        raise


def open_private(path: Path, mode: str = "w") -> IO:
    """A new file, open for writing, that no other user can read; what stood there is removed, not written to.

    mode: "w" (UTF-8 text) or "wb". Raises OSError when somebody else puts a file or a link there at this moment.
    """
    path.unlink(missing_ok=True)
    return open(path, mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8",
                opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600))


def not_through_links(name: str, flags: int) -> int:
    """An opener for open(): a symbolic link in place of the file is an OSError."""
    return os.open(name, flags | os.O_NOFOLLOW, 0o666)


def usual_mode(mode: int) -> int:
    """The permissions that a new file (mode 0o666) or folder (0o777) has by this process's umask."""
    umask = os.umask(0o077)
    os.umask(umask)
    return mode & ~umask


def commit(temporary: Path, path: Path) -> None:
    """Sync the finished file `temporary` to the disk, and give it a new file's permissions and its name `path`."""
    _sync(temporary, usual_mode(0o666))
    temporary.replace(path)
    _sync(path.parent)


def await_files(paths: Iterable[Path], patience_s: float = 20.0) -> None:
    """Return when all are there, or after patience_s: network file systems show late what another machine wrote."""
    give_up = time.monotonic() + patience_s
    while (late := [path for path in paths if not path.exists()]) and time.monotonic() < give_up:
        for folder in {path.parent for path in late if path.parent.exists()}:
            list(folder.iterdir())      # has the file system ask anew what there is
        time.sleep(0.1)


def _sync(path: Path, mode: int | None = None) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
