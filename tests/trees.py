"""Trees of files that the tests of the corpora make and look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyspk.tables import atomic


def touch(root: Path, *names: str) -> Path:
    """`root`, with empty files `names` in it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def tree(folder: Path) -> dict[str, str]:
    """Relative path -> text of every file, without the records."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*"))
            if path.is_file() and ".made" not in path.parts}


@contextmanager
def interrupted_after(monkeypatch, n_written: int) -> Iterator[None]:
    """A block that is interrupted as it is about to give its file number n_written, counted from 0, its name."""
    written = []

    def commit(temporary, path):
        if len(written) == n_written:
            raise KeyboardInterrupt
        written.append(path)
        temporary.replace(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(atomic, "commit", commit)
        yield
