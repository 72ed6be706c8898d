"""Kaldi archives: matrices and vectors in ark files, found through scp lines "key path:offset".

Binary layouts (Kaldi's matrix/compressed-matrix.h and matrix/kaldi-matrix.cc describe them): a value begins with "\\0B"
and a token:

    FM, DM   "\\4" int32 rows, "\\4" int32 cols, float32 | float64 row by row
    FV, DV   "\\4" int32 dim, float32 | float64
    CM       float32 min, float32 range, int32 rows, int32 cols, four uint16 percentiles a column, one byte a value,
             column by column, linear between the percentiles
    CM2      the same header, two bytes a value, row by row, linear over the range
    CM3      the same header, one byte a value, row by row, linear over the range

Anything else that kaldiio understands (text archives, pipes) is read through it, whole.
"""

import mmap
import re
import struct
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import kaldiio.matio
import numpy as np

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write, commit, temporary_path
from pyspk.tables.text import read_table, write_lines

_RANGE = re.compile(r"^(?P<rest>.*)\[(?P<rows>\d*:?\d*)(,(?P<cols>\d*:?\d*))?\]$")
_CUT_SHORT = "the archive is cut short or damaged"
_KALDI_AUTOMATIC_COMPRESSION = 1     # CM, or CM2 for matrices of up to 8 rows


class Location(NamedTuple):
    """Where a value lies: file, byte offset, and the rows and columns wanted (end-exclusive; None for all)."""

    path: str
    offset: int
    rows: slice
    cols: slice


def read_scp(path: str | Path) -> dict[str, str]:
    """The lines of an scp as key -> rxfilename, in file order. Raises UserError as read_table does."""
    return read_table(path)


def locate(rxfilename: str) -> Location:
    """Parse `path:offset[rows,cols]`; the ranges are Kaldi's, end-inclusive. Raises UserError for a malformed range."""
    rest, rows, cols = rxfilename, slice(None), slice(None)
    if match := _RANGE.match(rxfilename):
        rest, rows, cols = match["rest"], _to_slice(match["rows"]), _to_slice(match["cols"])
    path, colon, offset = rest.rpartition(":")
    if colon and offset.isdigit():
        return Location(path, int(offset), rows, cols)
    return Location(rest, 0, rows, cols)


class ArchiveReader:
    """Reads from memory-mapped archives: a range of rows costs those rows, not the utterance.

    At most `max_open` archives are mapped at a time; the least recently used is closed. Not shared between processes:
    after a fork each process makes its own.
    """

    def __init__(self, max_open: int = 64):
        self._maps: OrderedDict[str, mmap.mmap] = OrderedDict()
        self._max_open = max_open

    def shape(self, rxfilename: str) -> tuple[int, int]:
        """(rows, columns) of a matrix, from its header alone."""
        place = locate(rxfilename)
        if (matrix := self._binary_matrix(place)) is None:
            return self._whole(rxfilename, ndim=2).shape
        rows, cols = matrix.rows, matrix.cols
        return len(range(rows)[place.rows]), len(range(cols)[place.cols])

    def matrix(self, rxfilename: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start to stop (exclusive; to the end by default) of a matrix, (stop - start, columns) float32.

        Raises UserError naming the archive and offset when there is no matrix there or it is cut short.
        """
        place = locate(rxfilename)
        if (matrix := self._binary_matrix(place)) is None:
            return self._whole(rxfilename, ndim=2)[start:stop]
        wanted = range(matrix.rows)[place.rows][start:stop]
        try:
            rows = matrix.read(self._map(place.path), wanted.start, wanted.stop)
        except (ValueError, struct.error) as fault:
            raise UserError(f"{rxfilename}: {_CUT_SHORT} ({fault}); make it again") from None
        return rows[:, place.cols]

    def vector(self, rxfilename: str) -> np.ndarray:
        """A vector, (dim,) float32. Raises UserError as `matrix` does."""
        place = locate(rxfilename)
        if _through_kaldiio(place) or place.rows != slice(None):
            return self._whole(rxfilename, ndim=1)
        buffer = self._map(place.path)
        head = buffer[place.offset:place.offset + 5]
        if head not in (b"\0BFV ", b"\0BDV "):
            return self._whole(rxfilename, ndim=1)
        dtype = np.dtype("<f4" if head[2:4] == b"FV" else "<f8")
        try:
            _, dim = struct.unpack_from("<bi", buffer, place.offset + 5)
            return np.frombuffer(buffer, dtype, dim, place.offset + 10).astype(np.float32)
        except (ValueError, struct.error) as fault:
            raise UserError(f"{rxfilename}: {_CUT_SHORT} ({fault}); make it again") from None

    def check(self, rxfilename: str) -> None:
        """Read a matrix or vector and forget it. Raises UserError when it is not there or cut short."""
        place = locate(rxfilename)
        if self._binary_matrix(place) is None:
            self.vector(rxfilename)
        else:
            self.matrix(rxfilename)

    def _map(self, path: str) -> mmap.mmap:
        if path in self._maps:
            self._maps.move_to_end(path)
            return self._maps[path]
        try:
            with Path(path).open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise UserError(f"{path}: no such archive; the scp that names it was made elsewhere or the archive "
                            "was removed") from None
        except (OSError, ValueError) as fault:
            raise UserError(f"{path}: cannot read this archive ({fault})") from None
        self._maps[path] = mapped
        if len(self._maps) > self._max_open:
            self._maps.popitem(last=False)[1].close()
        return mapped

    def _binary_matrix(self, place: Location) -> "_Matrix | None":
        """The header at `place`, or None when kaldiio must read it (a pipe, text, or no matrix at all)."""
        if _through_kaldiio(place):
            return None
        buffer = self._map(place.path)
        if place.offset >= len(buffer):
            raise UserError(f"{place.path}:{place.offset}: {_CUT_SHORT} (it has {len(buffer)} bytes); make it again")
        head = buffer[place.offset:place.offset + 6]
        if head[:2] != b"\0B":
            return None
        token = head[2:].split(b" ")[0].decode("ascii", "replace")
        at = place.offset + 2 + len(token) + 1
        try:
            if token in ("FM", "DM"):
                _, rows, _, cols = struct.unpack_from("<bibi", buffer, at)
                return _Matrix(token, rows, cols, 0.0, 0.0, at + 10)
            if token in ("CM", "CM2", "CM3"):
                low, span, rows, cols = struct.unpack_from("<ffii", buffer, at)
                return _Matrix(token, rows, cols, low, span, at + 16)
        except struct.error:
            raise UserError(f"{place.path}:{place.offset}: {_CUT_SHORT}; make it again") from None
        return None

    def _whole(self, rxfilename: str, ndim: int) -> np.ndarray:
        kind = "matrix" if ndim == 2 else "vector"
        try:
            value = kaldiio.load_mat(rxfilename)
        except FileNotFoundError:
            raise UserError(f"{rxfilename}: no such archive") from None
        except Exception as fault:     # kaldiio raises whatever its parsing runs into
            raise UserError(f"{rxfilename}: no {kind} can be read here ({type(fault).__name__}: {fault})") from None
        if not isinstance(value, np.ndarray) or value.ndim != ndim:
            raise UserError(f"{rxfilename}: not a {kind}")
        return np.asarray(value, dtype=np.float32)


class _Matrix(NamedTuple):
    token: str
    rows: int
    cols: int
    low: float
    span: float
    data: int          # byte offset of what follows the header

    def read(self, buffer: mmap.mmap, start: int, stop: int) -> np.ndarray:
        """Rows start to stop, (stop - start, cols) float32, copied out of the map."""
        if self.token == "CM":
            return self._read_by_column(buffer, start, stop)
        dtype = np.dtype({"CM2": "<u2", "CM3": "u1", "FM": "<f4", "DM": "<f8"}[self.token])
        values = np.frombuffer(buffer, dtype, (stop - start) * self.cols,
                               self.data + start * self.cols * dtype.itemsize)
        values = values.reshape(stop - start, self.cols).astype(np.float32)
        if self.token in ("CM2", "CM3"):
            values *= np.float32(self.span / np.iinfo(dtype).max)
            values += np.float32(self.low)
        return values

    def _read_by_column(self, buffer: mmap.mmap, start: int, stop: int) -> np.ndarray:
        percentiles = np.frombuffer(buffer, "<u2", 4 * self.cols, self.data).reshape(self.cols, 4, 1)
        p0, p25, p75, p100 = (percentiles.astype(np.float32) * np.float32(self.span / 65535)
                              + np.float32(self.low)).transpose(1, 0, 2)          # each (cols, 1)
        codes = np.frombuffer(buffer, np.uint8, self.rows * self.cols, self.data + 8 * self.cols)
        codes = codes.reshape(self.cols, self.rows)[:, start:stop].astype(np.float32)
        # Linear between the percentiles at codes 0, 64, 192 and 255, as a sum of three ramps: no branch a value.
        values = np.minimum(codes - 64, 0) * ((p25 - p0) / 64)
        values += np.clip(codes - 64, 0, 128) * ((p75 - p25) / 128)
        values += np.maximum(codes - 192, 0) * ((p100 - p75) / 63)
        values += p25
        return np.ascontiguousarray(values.T)


class ArchiveWriter:
    """Writes an ark and its scp; both appear when the block ends well, the scp last.

    with ArchiveWriter("a.ark", "a.scp", compress=True) as writer:
        writer.write("utt1", feats)        # (T, F) -> CM when compress, else FM; (D,) -> FV
    """

    def __init__(self, ark: str | Path, scp: str | Path, compress: bool = False):
        self._ark, self._scp, self._compress = Path(ark).absolute(), Path(scp), compress
        self._lines: list[str] = []

    def __enter__(self) -> "ArchiveWriter":
        self._ark.parent.mkdir(parents=True, exist_ok=True)
        self._file = temporary_path(self._ark).open("wb")
        return self

    def __exit__(self, fault_type, *_) -> None:
        self._file.close()
        if fault_type is not None:
            temporary_path(self._ark).unlink(missing_ok=True)
            return
        commit(temporary_path(self._ark), self._ark)
        write_lines(self._scp, self._lines)

    def write(self, key: str, value: np.ndarray) -> None:
        """Append one matrix (T, F) or vector (D,). Raises ValueError for a key with white space or another shape."""
        if not key or key != "".join(key.split()) or value.ndim not in (1, 2):
            raise ValueError(f"cannot write {key!r} with shape {value.shape}")
        self._file.write(f"{key} ".encode())
        self._lines.append(f"{key} {self._ark}:{self._file.tell()}")
        method = _KALDI_AUTOMATIC_COMPRESSION if self._compress and value.ndim == 2 else None
        kaldiio.matio.write_array(self._file, value.astype(np.float32, copy=False), compression_method=method)


def read_vector(rxfilename: str | Path) -> np.ndarray:
    """One vector, (dim,) float32: `path`, `path:offset` or a text vector."""
    return ArchiveReader().vector(str(rxfilename))


def write_vector(path: str | Path, vector: np.ndarray) -> None:
    """Write one vector (dim,) without a key, as Kaldi's mean.vec; read_vector(path) reads it back."""
    with atomic_write(path, "wb") as file:
        kaldiio.matio.write_array(file, vector.astype(np.float32, copy=False))


def _through_kaldiio(place: Location) -> bool:
    return place.path.rstrip().endswith("|") or place.path == "-"


def _to_slice(text: str | None) -> slice:
    if not text:
        return slice(None)
    first, colon, last = text.partition(":")
    start = int(first) if first else 0
    stop = int(last) + 1 if last else None if colon else start + 1
    if stop is not None and stop <= start:
        raise UserError(f"range [{text}]: its end lies before its beginning (Kaldi's ranges include both ends)")
    return slice(start, stop)
