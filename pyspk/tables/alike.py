"""Many vectors of one dimension at a time: embeddings of a whole scp in a few large reads."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from pyspk.tables.matrix import encode

_SPAN_BYTES = 1 << 22                    # read at a time
_GAP_BYTES = 1 << 16                     # between two vectors; a larger one is not read


def read_alike(rxfilenames: Sequence[str], dim: int) -> np.ndarray | None:
    """The vectors at these places, (n, dim) float32; None where not all are binary float vectors of `dim` in files.

    ArchiveReader.vector reads whatever else may be there, and says what is wrong.
    """
    places = [rxfilename.rpartition(":")[::2] for rxfilename in rxfilenames]
    if not all(offset.isdecimal() for _, offset in places):
        return None
    vectors = np.empty((len(places), dim), np.float32)
    rows_of: dict[str, list[int]] = {}
    for row, (path, _) in enumerate(places):
        rows_of.setdefault(path, []).append(row)
    head = encode(np.zeros(dim, np.float32))[:-4 * dim]
    for path, rows in rows_of.items():
        try:
            offsets = np.array([int(places[row][1]) for row in rows], np.int64)
            order = np.argsort(offsets, kind="stable")
            with Path(path).open("rb", buffering=0) as file:
                for which in _spans(offsets[order], len(head) + 4 * dim):
                    found = _gather(file, offsets[order[which]], head, dim)
                    if found is None:
                        return None
                    vectors[np.array(rows)[order[which]]] = found
        except (OSError, ValueError, OverflowError):      # no such file; no name of one; no offset
            return None
    return vectors


def _spans(offsets: np.ndarray, n_bytes: int) -> Iterator[slice]:
    """Parts of the sorted offsets (n,) of values of n_bytes that are worth one read each."""
    gaps = np.flatnonzero(np.diff(offsets) > n_bytes + _GAP_BYTES) + 1
    for first, last in zip([0, *gaps], [*gaps, len(offsets)], strict=True):
        while first < last:
            stop = max(first + 1, first + np.searchsorted(offsets[first:last], offsets[first] + _SPAN_BYTES - n_bytes))
            yield slice(first, stop)
            first = stop


def _gather(file: IO[bytes], offsets: np.ndarray, head: bytes, dim: int) -> np.ndarray | None:
    """The vectors (n, dim) at the sorted offsets (n,), by one read; None where one has another head or is cut short."""
    n_bytes = len(head) + 4 * dim
    file.seek(offsets[0])
    data = np.frombuffer(file.read(offsets[-1] - offsets[0] + n_bytes), np.uint8)
    if len(data) < offsets[-1] - offsets[0] + n_bytes:
        return None
    found = np.lib.stride_tricks.sliding_window_view(data, n_bytes)[offsets - offsets[0]]
    if (found[:, :len(head)] != np.frombuffer(head, np.uint8)).any():
        return None
    return found[:, len(head):].view("<f4")
