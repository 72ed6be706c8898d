"""Matrices and vectors read one after the other from a stream: files, pipes and the standard input, binary and text.

The text form of a value is " [ 1 2 3 ]" for a vector; of a matrix each row has a line of its own, the first after the
bracket's.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.matrix import parse_head

CUT_SHORT = "the archive is cut short or damaged"
_BLANKS = b" \t\n"
_BLOCK = 1 << 24           # bytes read at a time: most values whole
_MOST_SHOWN = 200          # characters of a name: where an archive is damaged it may be as long as the rest of it


class ValueStream:
    """The values of a binary stream `file`, called `name` in errors. `offset` counts the bytes that were read."""

    def __init__(self, file: IO[bytes], name: str, offset: int = 0):
        self._file, self._name, self.offset = file, name, offset

    def __iter__(self) -> Iterator[tuple[str, np.ndarray]]:
        """(key, value) until the stream ends. Raises UserError as `value` does."""
        while key := self._key():
            yield key, self.value(key)

    def value(self, key: str = "") -> np.ndarray:
        """The next value, (T, F) or (D,) float32.

        Raises UserError naming stream, offset and, where it is known, utterance, when it is cut short or of another
        kind.
        """
        began = self.offset
        try:
            start = self._read(2)
            return self._binary(start) if start == b"\0B" else self._text(start)
        except ValueError as fault:
            whose = f'utterance "{key:.{_MOST_SHOWN}}": ' if key else ""
            raise UserError(f"{self._name}:{began}: {whose}{CUT_SHORT} ({fault}); make it again") from None

    def _binary(self, start: bytes) -> np.ndarray:
        while start[-1:] != b" " and len(start) < 2 + 4:      # the longest token and its blank
            start += self._read(1)
        n_numbers = 16 if start.startswith(b"\0BCM") else 10 if start.endswith(b"M ") else 5
        buffer = start + self._read(n_numbers)
        if (head := parse_head(buffer)) is None:
            raise ValueError(f"{buffer[2:].split(b' ')[0]!r} is no kind of matrix or vector known here")
        return head.decode(np.frombuffer(bytearray(self._read(head.n_bytes)), np.uint8))

    def _text(self, start: bytes) -> np.ndarray:
        lines = [start + self._line()] if b"\n" not in start else [start]
        if lines[0].strip()[:1] != b"[":
            raise ValueError("neither a binary value nor a text one in brackets")
        while b"]" not in lines[-1]:
            lines.append(self._line())
        is_matrix = lines[0].strip() == b"["
        inside = b"".join(lines).strip()
        if not inside.endswith(b"]"):
            raise ValueError("something follows the closing bracket")
        rows = [row.split() for row in inside[1:-1].split(b"\n")]
        values = [np.array(row, dtype=np.float32) for row in rows if row]
        if not is_matrix:
            return values[0] if values else np.empty(0, dtype=np.float32)
        return np.stack(values) if values else np.empty((0, 0), dtype=np.float32)

    def _key(self) -> str:
        key = b""
        while byte := self._file.read(1):
            self.offset += 1
            if byte not in _BLANKS:
                key += byte
            elif key:
                return key.decode("utf-8", "replace")
        if key:
            raise UserError(f"{self._name}:{self.offset - len(key)}: {CUT_SHORT} (it ends within a name, "
                            f"{key[:40]!r}); make it again")
        return ""

    def _read(self, n_bytes: int) -> bytes:
        pieces, n_missing = [], n_bytes
        while n_missing and (piece := self._file.read(min(n_missing, _BLOCK))):      # damage may ask for terabytes
            pieces.append(piece)
            n_missing -= len(piece)
        self.offset += n_bytes - n_missing
        if n_missing:
            raise ValueError(f"it ends {n_missing} bytes too early")
        return b"".join(pieces)

    def _line(self) -> bytes:
        line = self._file.readline()
        self.offset += len(line)
        if not line:
            raise ValueError("it ends before the closing bracket")
        return line


def is_command(rxfilename: str) -> bool:
    """Whether rxfilename is a "command |", which bash runs for its output."""
    return rxfilename.rstrip().endswith("|")


@contextmanager
def open_source(rxfilename: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, of the output of a `command |` (run by bash), or of the standard input, `-`.

    Raises UserError when there is no such file, and when the command failed.
    """
    name = rxfilename.strip()
    if name == "-":
        yield sys.stdin.buffer
        return
    if not is_command(name):
        try:
            file = Path(name).open("rb")      # noqa: SIM115  (only the opening may fail here)
        except OSError as fault:
            raise UserError(f"{name}: cannot be read ({fault.strerror})") from None
        with file:
            yield file
        return
    with subprocess.Popen(["bash", "-o", "pipefail", "-c", name[:-1]], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL) as process:
        failure = None
        try:
            yield process.stdout
        except UserError as fault:
            failure = fault                   # what the command left may be cut short because it failed
        process.stdout.read()
        if code := process.wait():
            raise UserError(f"{rxfilename}: the command failed (exit {code})")
        if failure:
            raise failure


def read_whole(rxfilename: str, offset: int = 0) -> np.ndarray:
    """The one value of a file from `offset` on, of a `command |` or of `-`, (T, F) or (D,) float32.

    Raises UserError as ValueStream.value and open_source do.
    """
    with open_source(rxfilename) as file:
        if offset:
            file.seek(offset)
        return ValueStream(file, rxfilename, offset).value()


def text_of(value: np.ndarray) -> bytes:
    """The text form of a matrix (T, F) or vector (D,), in as many digits as bring back the same float32 or float64."""
    digits = ".17g" if value.dtype == np.float64 else ".9g"
    rows = [" ".join(format(number, digits) for number in row) for row in np.atleast_2d(value).tolist()]
    if value.ndim == 1:
        return f" [ {' '.join(rows)} ]\n".encode()
    return (" [\n  " + " \n  ".join(rows) + " ]\n").encode() if value.size else b" [ ]\n"
