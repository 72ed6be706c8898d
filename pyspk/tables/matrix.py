"""Kaldi's binary matrices and vectors, as they stand in an archive behind a key: decoded in part, encoded whole.

A value begins with "\\0B" and a token (kaldi-matrix.cc, kaldi-vector.cc and compressed-matrix.h describe them):

    FM, DM   "\\4" int32 rows, "\\4" int32 cols, float32 | float64 row by row
    FV, DV   "\\4" int32 dim, float32 | float64
    CM       float32 low, float32 span, int32 rows, int32 cols, four uint16 percentiles a column, one byte a value,
             column by column, linear between the percentiles
    CM2      the same header, two bytes a value, row by row, linear over low to low + span
    CM3      the same header, one byte a value, row by row, linear likewise
"""

import math
import struct
from typing import NamedTuple

import numpy as np

from pyspk.errors import UserError

AUTOMATIC = 1                        # Kaldi's default --compression-method
# Kaldi's --compression-method -> (token; low, span, or None for those of the values)
COMPRESSION_METHODS: dict[int, tuple[str, tuple[float, float] | None]] = {
    AUTOMATIC: ("CM", None), 2: ("CM", None), 3: ("CM2", None), 4: ("CM2", (-32768.0, 65535.0)), 5: ("CM3", None),
    6: ("CM3", (0.0, 255.0)), 7: ("CM3", (0.0, 1.0))}
_MOST_ROWS_OF_TWO_BYTES = 8          # the automatic method gives them two bytes a value: no percentiles to speak of
_LINEAR = ("CM2", "CM3")
_FLOAT, _VECTORS = ("FM", "FV"), ("FV", "DV")
_DTYPES = {token: np.dtype(name) for token, name in (("FM", "<f4"), ("DM", "<f8"), ("FV", "<f4"), ("DV", "<f8"),
                                                     ("CM2", "<u2"), ("CM3", "u1"))}
_MATRIX, _VECTOR, _COMPRESSED = struct.Struct("<bibi"), struct.Struct("<bi"), struct.Struct("<ffii")
_LAYOUTS = {"FM": _MATRIX, "DM": _MATRIX, "FV": _VECTOR, "DV": _VECTOR, "CM": _COMPRESSED, "CM2": _COMPRESSED,
            "CM3": _COMPRESSED}
_HEADERS = {b"\0B%s " % token.encode(): (token, layout) for token, layout in _LAYOUTS.items()}
_LONGEST_TOKEN = max(map(len, _LAYOUTS))
HEAD_BYTES = 2 + _LONGEST_TOKEN + 1 + _COMPRESSED.size              # as many bytes hold any header
_AT_25, _AT_75, _AT_100 = 64, 192, 255                              # codes of a CM column's percentiles
_NO_WIDTH = np.float32(1e-30)        # percentiles closer than float32 can tell: everything above is the upper one


class Head(NamedTuple):
    """The header of a value: what kind it is, how large, and where its numbers lie."""

    token: str
    rows: int          # of a vector: its dimension
    cols: int          # of a vector: 0
    low: float
    span: float
    n_head_bytes: int  # how long the header itself is

    @property
    def is_vector(self) -> bool:
        """Whether it is a vector, not a matrix."""
        return self.token in _VECTORS

    @property
    def stored(self) -> np.dtype:
        """How a value is stored, of a vector and of a matrix that is stored row by row."""
        return _DTYPES[self.token]

    @property
    def percentile_bytes(self) -> int:
        """How many bytes the percentiles take that come before the codes of a CM matrix."""
        return 8 * self.cols

    @property
    def n_bytes(self) -> int:
        """How many bytes follow the header."""
        if self.token == "CM":
            return self.percentile_bytes + self.rows * self.cols
        return self.rows * (1 if self.is_vector else self.cols) * self.stored.itemsize

    def decode(self, data: np.ndarray) -> np.ndarray:
        """All of the value, (rows, cols) or (dim,) float32, of the n_bytes uint8 that follow the header."""
        if self.token == "CM":
            percentiles, codes = np.split(data, [self.percentile_bytes])
            return self.decode_columns(percentiles, codes.reshape(self.cols, self.rows))
        return self.numbers(data.view(self.stored).reshape((self.rows,) if self.is_vector else (self.rows, self.cols)))

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """float32 of `values` as they are stored, in the same shape; FM and FV are what they are, without a copy."""
        if self.token in _FLOAT:
            return values
        numbers = values.astype(np.float32)
        if self.token in _LINEAR:
            numbers *= np.float32(self.span / np.iinfo(self.stored).max)
            numbers += np.float32(self.low)
        return numbers

    def decode_columns(self, percentiles: np.ndarray, codes: np.ndarray, cols: slice = slice(None)) -> np.ndarray:
        """Rows (T, n) float32 of a CM matrix: percentile_bytes uint8 of all its columns, codes (n, T) uint8 of `cols`.
        """
        places = percentiles.view(_DTYPES["CM2"]).reshape(self.cols, 4)[cols]
        p0, p25, p75, p100 = _percentiles_as_numbers(places, self.low, self.span)                  # (n, 1) each
        codes = codes.astype(np.float32)
        # Linear between the percentiles, as a sum of three ramps: no branch a value.
        ramp, values = np.empty_like(codes), np.clip(codes, 0, _AT_25)
        values *= (p25 - p0) / _AT_25
        values += p0
        np.clip(codes, _AT_25, _AT_75, out=ramp)
        ramp -= _AT_25
        ramp *= (p75 - p25) / (_AT_75 - _AT_25)
        values += ramp
        np.clip(codes, _AT_75, _AT_100, out=ramp)
        ramp -= _AT_75
        ramp *= (p100 - p75) / (_AT_100 - _AT_75)
        values += ramp
        return np.ascontiguousarray(values.T)


def parse_head(start: bytes) -> Head | None:
    """The header at the beginning of `start`; None when there is no value of a kind that the module describes.

    Raises ValueError when `start` ends within it, or sizes are negative.
    """
    at = start.find(b" ", 2, 2 + _LONGEST_TOKEN + 1) + 1
    token, layout = _HEADERS.get(start[:at], ("", None))
    if layout is None:
        return None
    try:
        numbers = layout.unpack_from(start, at)
    except struct.error as fault:
        raise ValueError(fault) from None
    if layout is not _COMPRESSED:
        numbers = 0.0, 0.0, numbers[1], 0 if layout is _VECTOR else numbers[3]
    low, span, rows, cols = numbers
    if rows < 0 or cols < 0 or not (math.isfinite(low) and math.isfinite(span)):
        raise ValueError(f"a header of {rows} rows and {cols} columns")
    return Head(token, rows, cols, low, span, at + layout.size)


def encode(value: np.ndarray, compression_method: int | None = None) -> bytes:
    """The bytes of a value: a vector (D,) as FV, a matrix (T, F) as FM, of float64 as DV and DM, or compressed.

    compression_method: a key of COMPRESSION_METHODS, Kaldi's numbers, for matrices only; None: not compressed.
    Raises UserError for a compressed matrix whose values are not all finite.
    """
    value = value if value.dtype in (np.float32, np.float64) else value.astype(np.float32)
    if value.ndim == 2 and compression_method is not None:
        return _compressed(value.astype(np.float32, copy=False), compression_method)
    token = ("F" if value.dtype == np.float32 else "D") + ("V" if value.ndim == 1 else "M")
    sizes = b"".join(struct.pack("<bi", 4, size) for size in value.shape)
    return b"\0B" + token.encode() + b" " + sizes + value.astype(_DTYPES[token], copy=False).tobytes()


def _compressed(value: np.ndarray, method: int) -> bytes:
    token, limits = COMPRESSION_METHODS[method]
    if method == AUTOMATIC and len(value) <= _MOST_ROWS_OF_TWO_BYTES:
        token = "CM2"
    if not np.isfinite(value).all():
        raise UserError("not all values are finite, so they cannot be compressed")
    if limits is None:
        low, high = (float(value.min()), float(value.max())) if value.size else (0.0, 1.0)
        limits = low, high - low if high > low else 1 + abs(low)
    low, span = np.float32(limits[0]), np.float32(limits[1])
    head = b"\0B" + token.encode() + b" " + struct.pack("<ffii", low, span, *value.shape)
    if token == "CM":
        return head + _columns(value, low, span)
    return head + _linear_codes(value, low, span, _DTYPES[token]).tobytes()


def _linear_codes(value: np.ndarray, low: np.float32, span: np.float32, dtype: np.dtype) -> np.ndarray:
    """The nearest of the equally spaced codes of `dtype` from low to low + span, any shape."""
    top = np.iinfo(dtype).max
    return np.rint(np.clip((value - low) / span, 0, 1) * np.float32(top)).astype(dtype)


def _columns(value: np.ndarray, low: np.float32, span: np.float32) -> bytes:
    """Percentiles and codes of a CM matrix (T, F).

    The percentiles of a column are those of its sorted values at the places 0, T // 4, 3 T // 4 and T - 1, as whole
    numbers of which each is above the one before.
    """
    columns = np.ascontiguousarray(value.T)                                                # (F, T)
    n_cols, n_rows = columns.shape
    if not columns.size:
        return bytes(8 * n_cols)
    places = [0, n_rows // 4, 3 * n_rows // 4, n_rows - 1]
    percentiles = _linear_codes(np.sort(columns, axis=1)[:, places], low, span, _DTYPES["CM2"])
    for i, most in enumerate((65532, 65533, 65534, 65535)):
        least = percentiles[:, i - 1] + 1 if i else 0
        percentiles[:, i] = np.clip(percentiles[:, i], least, most)
    p0, p25, p75, p100 = _percentiles_as_numbers(percentiles, low, span)                   # (F, 1) each
    codes, ramp = np.full_like(columns, 0.5), np.empty_like(columns)                       # 0.5: to the nearest
    for below, above, n_codes in ((p0, p25, _AT_25), (p25, p75, _AT_75 - _AT_25), (p75, p100, _AT_100 - _AT_75)):
        np.subtract(columns, below, out=ramp)
        ramp *= n_codes / np.maximum(above - below, _NO_WIDTH)
        codes += np.clip(ramp, 0, n_codes, out=ramp)
    return percentiles.tobytes() + codes.astype(np.uint8).tobytes()


def _percentiles_as_numbers(percentiles: np.ndarray, low: float, span: float) -> np.ndarray:
    """uint16 percentiles (F, 4) -> four times (F, 1) float32."""
    scaled = percentiles.astype(np.float32) * np.float32(span / 65535)
    scaled += np.float32(low)
    return scaled.T[:, :, None]
