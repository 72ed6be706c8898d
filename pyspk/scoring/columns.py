"""Files of three words a line, millions of lines: read and written by pyarrow, where each line is as it should be.

Whatever pyarrow refuses, or would take for something else than a person does, is left to the reader that goes through a
file line by line and says what is wrong with which line.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

_BLOCK_BYTES = 1 << 24                   # read at a time: names that come again are kept once for each
_DIGITS = 7
_POWERS = np.array([float(f"1e{n}") for n in range(23)])      # 1e22 is the last that is a float64 exactly
_WORDS = pa.dictionary(pa.int32(), pa.binary())


class Columns(NamedTuple):
    """n lines: enroll and test (n,) int32 are places in names; what stands beside them."""

    names: list[str]
    enroll: np.ndarray
    test: np.ndarray
    beside: pa.ChunkedArray              # n words (dictionary) or numbers (float64)


def read_columns(path: str | Path, order: tuple[str, str, str], is_number: bool) -> Columns | None:
    """The lines of `path`, or None when they are not all three words with one blank between.

    order: "enroll", "test" and "beside" as they come in a line; is_number: whether "beside" is a number or a word.
    """
    if not Path(path).is_file():         # a pipe can be read only once
        return None
    types = {"enroll": _WORDS, "test": _WORDS, "beside": pa.float64() if is_number else _WORDS}
    try:
        with pa.OSFile(str(path)) as file:
            table = csv.read_csv(
                file, csv.ReadOptions(column_names=order, block_size=_BLOCK_BYTES),
                csv.ParseOptions(delimiter=" ", quote_char=False, escape_char=False, ignore_empty_lines=False),
                csv.ConvertOptions(column_types=types, null_values=[], strings_can_be_null=False))
        table = table.unify_dictionaries()
        enroll_names, enroll = _words(table["enroll"])
        test_names, test = _words(table["test"])
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None
    places = {name: place for place, name in enumerate(enroll_names)}
    renumber = np.array([places.setdefault(name, len(places)) for name in test_names], dtype=np.int32)
    if not all(name.split() == [name] for name in places):
        return None
    return Columns(*_by_appearance(list(places), enroll, renumber[test]), table["beside"])


def flags(words: pa.ChunkedArray, meaning: dict[str, bool]) -> np.ndarray | None:
    """What each of n words means, (n,) bool; None when one has no meaning."""
    try:
        labels, places = _words(words)
        return np.array([meaning[label] for label in labels])[places]
    except (UnicodeDecodeError, KeyError):
        return None


def encode_lines(names: pa.Array, enroll: np.ndarray, test: np.ndarray, score: np.ndarray) -> memoryview:
    """The bytes of "ENROLL TEST SCORE" lines; names: strings, enroll and test (n,) places in them, score (n,)."""
    numbers = pc.binary_join_element_wise(pc.cast(pa.array(_rounded(score)), pa.string()), "\n", "")
    lines = pc.binary_join_element_wise(names.take(pa.array(enroll)), names.take(pa.array(test)), numbers, " ")
    _, _, content = lines.buffers()
    return memoryview(content)


def _rounded(score: np.ndarray) -> np.ndarray:
    """float64 of any finite numbers, of _DIGITS significant digits, so that the shortest text of each has no more."""
    score = score.astype(np.float64)
    with np.errstate(divide="ignore"):
        decimals = _DIGITS - 1 - np.floor(np.log10(np.abs(score)))
    decimals[score == 0] = 0
    scale = _POWERS.take(np.abs(decimals).astype(np.int64), mode="clip")
    rounded = np.where(decimals >= 0, np.rint(score * scale) / scale, np.rint(score / scale) * scale)
    extreme = np.flatnonzero(np.abs(decimals) >= len(_POWERS))
    rounded[extreme] = [float(f"{number:.{_DIGITS}g}") for number in score[extreme]]
    return rounded


def _words(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The words of a column of words, and (n,) int32 places in them."""
    words = [word.decode() for word in column.chunk(0).dictionary.to_pylist()]
    return words, np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])


def _by_appearance(names: list[str], enroll: np.ndarray, test: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The same with the names in the order in which the file shows them."""
    n = len(enroll)
    first = np.full((2, len(names)), 2 * n)
    first[0, enroll[::-1]] = np.arange(2 * n - 2, -1, -2)      # of places that come again the last assignment stands
    first[1, test[::-1]] = np.arange(2 * n - 1, -1, -2)
    order = np.argsort(first.min(axis=0))
    place = np.empty(len(names), dtype=np.int32)
    place[order] = np.arange(len(names))
    return [names[number] for number in order], place[enroll], place[test]
