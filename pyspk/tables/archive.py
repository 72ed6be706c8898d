"""Kaldi archives: matrices and vectors in ark files, found through scp lines "key path:offset"."""

import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write, commit, open_private, temporary_path
from pyspk.tables.matrix import HEAD_BYTES, Head, encode, parse_head
from pyspk.tables.stream import CUT_SHORT, is_command, read_whole, text_of
from pyspk.tables.text import read_table, write_lines

_RANGE = re.compile(r"^(?P<rest>.*)\[(?P<rows>\d*:?\d*)(,(?P<cols>\d*:?\d*))?\]$")
_LIKE_A_RANGE = re.compile(r"\[[^\][/]*\]$")
_TOLERANCE_ROWS = 3   # by which a range may reach past the end: segments and frames are not rounded alike everywhere
_ALL = slice(None)
_MUCH = 1 << 22       # bytes of a value for which it is worth looking first whether the archive has as many
_SMALL = 1 << 18      # bytes of a CM matrix that are read in one go, rather than some of each column


class Location(NamedTuple):
    """Where a value lies: file, byte offset, and the rows and columns wanted (end-exclusive; None for all)."""

    path: str
    offset: int
    rows: slice
    cols: slice


def read_scp(path: str | Path) -> dict[str, str]:
    """The lines of an scp as key -> rxfilename, in file order. Raises UserError as read_table does."""
    return read_table(path)


def refuse_commands(path: str | Path, table: Mapping[str, str], skipped: int = 0) -> None:
    """Raise UserError for the first rxfilename that is a command.

    table: key -> rxfilename, the lines of `path` after `skipped` others.
    """
    for number, (key, rxfilename) in enumerate(table.items(), start=skipped + 1):
        if runs_command(rxfilename):
            raise UserError(f'{path}:{number}: "{key}" is a command, "{rxfilename:.200}", and --no-pipes runs none; '
                            "name a file there that holds what it writes, or leave --no-pipes out if you trust it")


def refuse_commands_in(*scps: str | Path, vector: str | Path | None = None) -> None:
    """Raise UserError for the first command in these scp files, and for a rxfilename `vector` that is one."""
    for scp in scps:
        refuse_commands(scp, read_scp(scp))
    if vector is not None and runs_command(str(vector)):
        raise UserError(f'"{vector}": a command, and --no-pipes runs none; name the file that it writes')


def runs_command(rxfilename: str) -> bool:
    """Whether reading this rxfilename, as a recording or as a place in an archive, runs a command."""
    return "|" in rxfilename and (is_command(rxfilename) or is_command(locate(rxfilename).path))


def locate(rxfilename: str) -> Location:
    """Parse `path:offset[rows,cols]`; the ranges are Kaldi's, end-inclusive. Raises UserError for a malformed range."""
    rest, rows, cols = rxfilename, _ALL, _ALL
    if rxfilename.endswith("]"):
        if match := _RANGE.match(rxfilename):
            rest, rows, cols = match["rest"], _to_slice(match["rows"]), _to_slice(match["cols"])
        elif _LIKE_A_RANGE.search(rxfilename) and not Path(rxfilename).exists():
            raise UserError(f"{rxfilename}: not a range; [FIRST:LAST] or [FIRST:LAST,FIRST:LAST], both from 0")
    path, colon, offset = rest.rpartition(":")
    if colon and offset.isdigit():
        return Location(path, int(offset), rows, cols)
    return Location(rest, 0, rows, cols)


class ArchiveReader:
    """Reads values anywhere in archives: a range of rows costs those rows, not the utterance.

    By pread and not through a memory map, in which a worker would seem to grow to the size of the archives, and which
    ends the process when a file is cut short under it. At most `max_open` archives are open at a time; the least
    recently used is closed.
    """

    def __init__(self, max_open: int = 64):
        self._files: OrderedDict[str, IO[bytes]] = OrderedDict()
        self._max_open = max_open

    def shape(self, rxfilename: str) -> tuple[int, int]:
        """(rows, columns) of a matrix, from its header alone."""
        place = locate(rxfilename)
        head = self._head(place)
        if head is None or head.is_vector:
            return self._whole(rxfilename, place, ndim=2).shape
        return len(_within(head.rows, place, rxfilename)), len(range(head.cols)[place.cols])

    def matrix(self, rxfilename: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop (exclusive; to the end by default) of a matrix, (stop - start, columns) float32.

        Raises UserError naming the archive and offset when there is no matrix there or it is cut short.
        """
        place = locate(rxfilename)
        head = self._head(place)
        if head is None or head.is_vector:
            return self._whole(rxfilename, place, ndim=2)[start:stop]
        wanted = _within(head.rows, place, rxfilename)[start:stop]
        if head.token == "CM":
            return self._columns(place, head, wanted.start, max(wanted.start, wanted.stop))
        values = np.empty((len(wanted), head.cols), head.stored)
        self._fill(values, place, head, wanted.start * head.cols * values.itemsize)
        return head.numbers(values if place.cols is _ALL else values[:, place.cols])

    def vector(self, rxfilename: str) -> np.ndarray:
        """A vector, (dim,) float32. Raises UserError as `matrix` does."""
        place = locate(rxfilename)
        head = self._head(place)
        if head is None or not head.is_vector:
            return self._whole(rxfilename, place, ndim=1)
        return head.decode(self._bytes(place, head, 0, head.n_bytes))[place.rows]

    def value(self, rxfilename: str) -> np.ndarray:
        """A matrix or vector, whichever is there. Raises UserError as `matrix` does."""
        head = self._head(place := locate(rxfilename))
        if head is None:
            return self._whole(rxfilename, place, ndim=None)
        return self.vector(rxfilename) if head.is_vector else self.matrix(rxfilename)

    def _columns(self, place: Location, head: Head, start: int, stop: int) -> np.ndarray:
        """Rows of a CM matrix, whose columns lie one after the other."""
        if head.n_bytes <= _SMALL:
            percentiles, codes = np.split(self._bytes(place, head, 0, head.n_bytes), [head.percentile_bytes])
            codes = codes.reshape(head.cols, head.rows)[place.cols, start:stop]
        else:
            percentiles = self._bytes(place, head, 0, head.percentile_bytes)
            firsts = [head.percentile_bytes + column * head.rows for column in range(head.cols)[place.cols]]
            codes = np.stack([self._bytes(place, head, first + start, stop - start) for first in firsts])
        return head.decode_columns(percentiles, codes, place.cols)

    def _head(self, place: Location) -> Head | None:
        """The header at `place`; None for a pipe and for text. Raises UserError when nothing is there."""
        if place.path[-1:] in "| -" and (place.path == "-" or is_command(place.path)):
            return None
        try:
            start = os.pread(self._file(place.path).fileno(), HEAD_BYTES, place.offset)
            if not start:
                raise ValueError(f"it has {os.fstat(self._file(place.path).fileno()).st_size} bytes")
            head = parse_head(start)
            if head and head.n_bytes > _MUCH:      # a damaged header may ask for terabytes
                n_bytes = os.fstat(self._file(place.path).fileno()).st_size - place.offset - head.n_head_bytes
                if head.n_bytes > n_bytes:
                    raise ValueError(f"it ends {head.n_bytes - n_bytes} bytes too early")
            return head
        except OSError as fault:
            raise _unreadable(place.path, fault) from None
        except OverflowError:
            raise UserError(f"{place.path}:{place.offset}: no file is so long; correct its line in the scp") from None
        except ValueError as fault:
            raise UserError(f"{place.path}:{place.offset}: {CUT_SHORT} ({fault}); make it again") from None

    def _bytes(self, place: Location, head: Head, start: int, n_bytes: int) -> np.ndarray:
        """n_bytes from byte `start` of what follows the header, uint8. Raises UserError as _fill does."""
        data = np.empty(n_bytes, np.uint8)
        self._fill(data, place, head, start)
        return data

    def _fill(self, array: np.ndarray, place: Location, head: Head, start: int) -> None:
        """Read `array` from byte `start` of what follows the header. Raises UserError when the archive ends before."""
        at, n_bytes = place.offset + head.n_head_bytes + start, array.nbytes
        n_read = self._pread(place.path, array, at) if n_bytes else 0
        while n_read < n_bytes:
            n_more = self._pread(place.path, array.reshape(-1).view(np.uint8)[n_read:], at + n_read)
            if not n_more:
                raise UserError(f"{place.path}:{place.offset}: {CUT_SHORT} (it ends {n_bytes - n_read} bytes too "
                                "early); make it again")
            n_read += n_more

    def _pread(self, path: str, into: np.ndarray, offset: int) -> int:
        try:
            return os.preadv(self._files[path].fileno(), [into], offset)      # open: its header has been read
        except OSError as fault:
            raise _unreadable(path, fault) from None

    def _file(self, path: str) -> IO[bytes]:
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        try:
            file = Path(path).open("rb", buffering=0)      # noqa: SIM115  (it stays open)
        except FileNotFoundError:
            raise UserError(f"{path}: no such archive; the scp that names it was made elsewhere or the archive "
                            "was removed") from None
        self._files[path] = file
        if len(self._files) > self._max_open:
            self._files.popitem(last=False)[1].close()
        return file

    def _whole(self, rxfilename: str, place: Location, ndim: int | None) -> np.ndarray:
        value = read_whole(place.path, place.offset)
        if ndim not in (None, value.ndim):
            raise UserError(f"{rxfilename}: not a {'matrix' if ndim == 2 else 'vector'}")
        wanted = _within(len(value), place, rxfilename)
        value = value[wanted.start:wanted.stop]
        return value[:, place.cols] if value.ndim == 2 else value


class ArchiveWriter:
    """Writes an ark and, if wanted, its scp; both appear when the block ends well, the scp last.

    with ArchiveWriter("a.ark", "a.scp", compression_method=1) as writer:
        writer.write("utt1", feats)        # (T, F) -> FM, or compressed as encode says; (D,) -> FV
    """

    def __init__(self, ark: str | Path, scp: str | Path | None, compression_method: int | None = None,
                 text: bool = False):
        self._ark, self._scp = Path(ark).absolute(), scp and Path(scp)
        self._compression_method, self._text = compression_method, text
        self._lines: list[str] = []

    def __enter__(self) -> "ArchiveWriter":
        self._ark.parent.mkdir(parents=True, exist_ok=True)
        self._file = open_private(temporary_path(self._ark), "wb")
        return self

    def __exit__(self, fault_type, *_) -> None:
        try:
            self._file.close()      # what was buffered may meet a full disk only now
            if fault_type is None:
                commit(temporary_path(self._ark), self._ark)
        except OSError as fault:
            fault.filename = fault.filename or str(self._ark)
            raise
        finally:
            temporary_path(self._ark).unlink(missing_ok=True)
        if self._scp and fault_type is None:
            write_lines(self._scp, self._lines)

    def write(self, key: str, value: np.ndarray) -> None:
        """Append one matrix (T, F) or vector (D,).

        Raises ValueError for a key with white space or another shape, and UserError as encode does; nothing is written
        then.
        """
        if not key or key != "".join(key.split()) or value.ndim not in (1, 2):
            raise ValueError(f"cannot write {key!r} with shape {value.shape}")
        content = text_of(value) if self._text else encode(value, self._compression_method)
        self._file.write(f"{key} ".encode())
        self._lines.append(f"{key} {self._ark}:{self._file.tell()}")
        self._file.write(content)


def read_vector(rxfilename: str | Path) -> np.ndarray:
    """One vector, (dim,) float32: `path`, `path:offset` or a text vector."""
    return ArchiveReader().vector(str(rxfilename))


def write_vector(path: str | Path, vector: np.ndarray) -> None:
    """Write one vector (dim,) without a key, as Kaldi's mean.vec; read_vector(path) reads it back."""
    with atomic_write(path, "wb") as file:
        file.write(encode(vector.astype(np.float32, copy=False)))


def _unreadable(path: str, fault: OSError) -> UserError:
    return UserError(f"{path}: cannot read this archive ({fault.strerror})")


def _within(n_rows: int, place: Location, rxfilename: str) -> range:
    """The rows that `place` wants of n_rows. Raises UserError for a range that begins or ends clearly past the last."""
    rows = place.rows
    if rows is not _ALL and (rows.start >= n_rows or (rows.stop or 0) > n_rows + _TOLERANCE_ROWS):
        raise UserError(f"{rxfilename}: there are {n_rows} rows, from 0 to {n_rows - 1}")
    return range(n_rows)[rows]


def _to_slice(text: str | None) -> slice:
    if not text:
        return _ALL
    first, colon, last = text.partition(":")
    start = int(first) if first else 0
    stop = int(last) + 1 if last else None if colon else start + 1
    if stop is not None and stop <= start:
        raise UserError(f"range [{text}]: its end lies before its beginning (Kaldi's ranges include both ends)")
    return slice(start, stop)
