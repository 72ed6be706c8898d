"""Text tables: one "key value" a line, keys unique and in LC_ALL=C order."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pyspk.errors import UserError
from pyspk.tables.atomic import atomic_write


def read_table(path: str | Path, sorted_keys: bool = True, values: bool = True) -> dict[str, str]:
    """The lines of `path` as key -> rest of the line, in file order.

    sorted_keys: require LC_ALL=C order (code point order of str is byte order of UTF-8, so str comparison does).
    values: require something after the key.
    Raises UserError naming file and line for a missing file, text that is not UTF-8, an empty line, a key that comes
    twice, a key out of order, a missing value, a last line without its newline (a file cut short).
    """
    path = Path(path)
    text = read_text(path)
    if text and not text.endswith("\n"):
        raise UserError(f"{path}: the last line has no newline, so the file may be cut short; "
                        "make it again, or add the newline")
    table: dict[str, str] = {}
    previous = None
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        key, _, value = line.strip().partition(" ") if "\t" not in line else _split_any(line)
        where = f"{path}:{number}"
        if not key:
            raise UserError(f"{where}: an empty line; remove it")
        if values and not value:
            raise UserError(f'{where}: "{key}" has no value; a line is "key value"')
        if key in table:
            raise UserError(f'{where}: "{key}" comes twice; keep one of them')
        if sorted_keys and previous is not None and key < previous:
            raise UserError(f'{where}: not sorted: "{key}" comes after "{previous}"; '
                            f"mend it with: LC_ALL=C sort -o {path} {path}")
        table[key] = value.strip()
        previous = key
    return table


def write_table(path: str | Path, table: Mapping[str, object]) -> None:
    """Write `table` as "key value" lines in LC_ALL=C order, atomically."""
    write_lines(path, (f"{key} {table[key]}" for key in sorted(table)))


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write `lines`, each with its newline, atomically."""
    with atomic_write(path) as file:
        file.writelines(f"{line}\n" for line in lines)


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file. Raises UserError when it is missing, unreadable or not text."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as fault:
        raise UserError(f"{path}: not UTF-8 text (byte {fault.start}); is it a binary file?") from None
    except OSError as fault:
        raise UserError(f"{path}: {fault.strerror}") from None


def _split_any(line: str) -> tuple[str, str, str]:
    key, *rest = line.split(None, 1)
    return key, "", rest[0] if rest else ""
