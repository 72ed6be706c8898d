"""Text tables: one "key value" a line, keys unique and in LC_ALL=C order."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import islice
from operator import lt
from pathlib import Path
from typing import IO

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write

_BLANKS = " \t"
_ODD = re.compile(r"[^\S \t]|[\x00-\x08\x0e-\x1f\x7f]")      # white space that separates nothing; control characters
ALL_LINES = slice(0, None)
_BYTE_ORDER_MARK = "\ufeff"      # what some programs put before the first character of UTF-8


class Mend(Enum):
    """What the command that mends a file does about a fault."""

    MENDED = "does"                  # it does what one would do by hand
    LEFT_OUT = "leaves it out"       # it can only leave out what the line is about
    BY_HAND = ""                     # nothing: a person must decide


class Faults:
    """What is wrong with the file `path`, collected, so that a person sees all of it in one go.

    fix: a command that mends some faults; listing: one that lists them all. They are named where they help. skipped:
    how many lines of the file stand before those that are looked at, and numbered from 1.
    """

    def __init__(self, path: Path, fix: str = "", listing: str = "", skipped: int = 0):
        self.path, self.skipped, self._fix, self._listing = path, skipped, fix, listing
        self._found: list[tuple[float, Mend, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int | None, what: str, by_hand: str, mend: Mend = Mend.MENDED) -> None:
        """A fault: its line, None for the file as a whole; what is wrong; what to do by hand; what `fix` does."""
        where = f"{self.path}:{line + self.skipped}" if line else f"{self.path}"
        command = f" ({self._fix} {mend.value})" if self._fix and mend is not Mend.BY_HAND else ""
        self._found.append((line or math.inf, mend, f"{where}: {what}; {by_hand}{command}"))

    def lines(self, limit: int | None = None, mend: Mend | None = None) -> list[str]:
        """A line for each of the first `limit` faults (of one kind), in the order of the file; not UTF-8: escaped."""
        found = sorted((fault for fault in self._found if mend in (None, fault[1])), key=lambda fault: fault[0])
        return [text.encode(errors="surrogateescape").decode(errors="backslashreplace") for _, _, text in found[:limit]]

    def left_out(self) -> set[int]:
        """The numbers of the lines that the mending command leaves out."""
        return {int(line) for line, mend, _ in self._found if mend is Mend.LEFT_OUT and line < math.inf}

    def refuse(self) -> None:
        """Raise UserError with the first fault and the number of the others, if there are any."""
        if not self._found:
            return
        more = f"; and {len(self) - 1} more" if len(self) > 1 else ""
        listed = f", listed by: {self._listing}" if more and self._listing else ""
        raise UserError(f"{self.lines(1)[0]}{more}{listed}")


def read_table(path: str | Path, sorted_keys: bool = True, values: bool = True) -> dict[str, str]:
    """The lines of `path` as key -> rest of the line, in file order; arguments as of scan_table.

    Raises UserError, naming file and line, for a missing file and for the first fault that scan_table finds.
    """
    path = Path(path)
    faults = Faults(path)
    table = dict(zip(*scan_table(path, faults, sorted_keys, values), strict=True))
    faults.refuse()
    return table


def scan_table(path: Path, faults: Faults, sorted_keys: bool = True, values: bool = True,
               lines: slice = ALL_LINES) -> tuple[list[str], list[str]]:
    """(keys, rests of the lines), an entry for each of the `lines` of `path`; an empty line has the key "".

    sorted_keys: require LC_ALL=C order (code point order of str is byte order of UTF-8, so str comparison does).
    values: require something after the key. Blanks and tabs separate.
    Adds to `faults`: text that is not UTF-8 (its bytes come as surrogates), a byte-order mark, Windows line ends, a
    last line without its newline (a file cut short), empty lines, missing values, keys with control characters or
    white space within, keys that come twice or unsorted.
    Raises UserError when the file is missing or cannot be read.
    """
    keys, rests = [], []
    for line in _lines(path, faults, lines):
        key, rest = _row(line)
        keys.append(key)
        rests.append(rest)
    if not all(keys):
        for number, key in enumerate(keys, start=1):
            if not key:
                faults.add(number, "an empty line", "remove it")
    for number in (number for number, key in enumerate(keys, start=1) if not is_plain(key)):
        faults.add(number, f"the name {keys[number - 1]!a} {ODD}", "rename it", Mend.LEFT_OUT)
    if values and not all(rests):
        for number, (key, rest) in enumerate(zip(keys, rests, strict=True), start=1):
            if key and not rest:
                faults.add(number, f'"{key}" has no value; a line is "key value"', "correct it", Mend.LEFT_OUT)
    if not all(map(lt, keys, keys[1:])):
        _add_order_faults(path, keys, rests, faults, sorted_keys)
    return keys, rests


ODD = "holds a control character, or white space that is no blank"


def is_plain(name: str) -> bool:
    """Whether every program takes `name` for one word, and a terminal shows it as it is."""
    return name.isprintable() or not _ODD.search(name)


def write_table(path: str | Path, table: Mapping[str, object]) -> None:
    """Write `table` as "key value" lines in LC_ALL=C order, atomically."""
    write_lines(path, table_lines(table))


def table_lines(table: Mapping[str, object]) -> Iterator[str]:
    """The lines of `table` in LC_ALL=C order; a key without a value stands alone."""
    return (f"{key} {table[key]}".rstrip() for key in sorted(table))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write `lines`, each with its newline, atomically."""
    with atomic_write(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, with or without byte-order mark. Raises UserError when it is missing or not text."""
    try:
        return read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not UTF-8 text (byte {fault.start}); is it a binary file?") from None


def count_lines(path: str | Path) -> int:
    """How many lines a file has. Raises UserError as read_bytes does."""
    with _opened(path) as file:
        return sum(1 for _ in file)


def read_bytes(path: str | Path, lines: slice = ALL_LINES) -> bytes:
    """The content of a file, or of some of its lines. Raises UserError when it is missing or unreadable."""
    with _opened(path) as file:
        return file.read() if lines == ALL_LINES else b"".join(islice(file, lines.start, lines.stop))


@contextmanager
def _opened(path: str | Path) -> Iterator[IO[bytes]]:
    try:
        with Path(path).open("rb") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as fault:
        raise UserError(f"{path}: {fault.strerror}") from None


def _lines(path: Path, faults: Faults, which: slice) -> list[str]:
    """Lines of the file without their ends; faults of the text itself are added."""
    content = read_bytes(path, which)
    try:
        text, is_utf8 = content.decode(), True
    except UnicodeDecodeError:
        text, is_utf8 = content.decode(errors="surrogateescape"), False
    if text.startswith(_BYTE_ORDER_MARK):
        faults.add(1, "a byte-order mark stands before the first name", "save it as UTF-8 without one, or mend it "
                   f"with: sed -i '1s/^\\xEF\\xBB\\xBF//' {path}")
        text = text.removeprefix(_BYTE_ORDER_MARK)
    if text and not text.endswith("\n"):
        faults.add(text.count("\n") + 1, "the last line has no newline, so the file may be cut short",
                   "make it again, or add the newline")
        text += "\n"
    if "\r" in text and (windows := text.count("\r\n")):      # one character is found ten times as fast as two
        faults.add(text[:text.index("\r\n")].count("\n") + 1, f"Windows line ends (CR LF), {windows} of them",
                   f"mend it with: sed -i 's/\\r$//' {path}")
        text = text.replace("\r\n", "\n")
    lines = text.split("\n")[:-1]
    for number, line in enumerate(lines if not is_utf8 else [], start=1):
        if any("\udc80" <= char <= "\udcff" for char in line):
            faults.add(number, "not UTF-8 text", "is it a binary file? if not, convert it from what it is in: "
                       "iconv -f LATIN1 -t UTF-8", Mend.BY_HAND)
    return lines


def _row(line: str) -> tuple[str, str]:
    key, _, rest = line.strip(_BLANKS).partition(" ")
    if "\t" in key:
        key, _, start = key.partition("\t")
        rest = f"{start} {rest}"
    return key, rest.strip(_BLANKS)


def _add_order_faults(path: Path, keys: list[str], rests: list[str], faults: Faults, sorted_keys: bool) -> None:
    first: dict[str, int] = {}
    previous = ""
    for number, key in enumerate(keys, start=1):
        if not key:
            continue
        if key in first:
            other = rests[first[key] - 1] != rests[number - 1]
            line = first[key] + faults.skipped
            faults.add(number, f'"{key}" comes twice, first on line {line}{" with another value" * other}',
                       "keep one of them", Mend.BY_HAND if other else Mend.MENDED)
        elif sorted_keys and key < previous:
            faults.add(number, f'not sorted: "{key}" comes after "{previous}"',
                       f"mend it with: LC_ALL=C sort -o {path} {path}")
        first.setdefault(key, number)
        previous = key
