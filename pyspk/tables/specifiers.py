"""Tables of matrices and vectors by Kaldi's names for them: "ark:FILE", "scp:FILE", "ark,scp:FILE,FILE", "ark,t:-".

    to read    ark:FILE  ark:-  "ark:COMMAND |"  scp:FILE  scp:-  "scp:COMMAND |"      binary or text, as it comes
    to write   ark:FILE  ark:-  "ark:| COMMAND"  ark,t:...  ark,scp:ARK,SCP  ark,t,scp:ARK,SCP
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.archive import ArchiveReader, ArchiveWriter, runs_command
from pyspk.tables.matrix import encode
from pyspk.tables.stream import ValueStream, open_source, text_of

Write = Callable[[str, np.ndarray], None]
_READING = "ark:FILE or scp:FILE, where FILE may be - or a command with | after it"
_WRITING = "ark:FILE, ark,t:FILE or ark,scp:ARK,SCP, where an archive may be - or a command with | before it"
_KINDS = ("ark", "scp")
# Kaldi's options that change nothing here: sortedness, buffering, and what is the default anyway.
_READ_OPTIONS = {"s", "ns", "cs", "ncs", "o", "no", "b", "t", "bg", "np"}
_WRITE_OPTIONS = {"b", "t", "f", "nf", "np"}


def read_values(rspecifier: str, no_pipes: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """(key, matrix (T, F) or vector (D,), float32) one after the other; no more than one is held.

    Raises UserError for a specifier that is none; naming archive, offset and utterance, where a value cannot be read;
    and, with no_pipes, instead of running a command.
    """
    kinds, rest = _parse(rspecifier, _READ_OPTIONS, _READING)
    if len(kinds) != 1:
        raise UserError(f'"{rspecifier}" cannot be read; give {_READING}')
    if no_pipes:
        _refuse_command(f'"{rspecifier}"', rest)
    with open_source(rest) as file:
        if kinds == ["ark"]:
            yield from ValueStream(file, _name(rest))
            return
        reader = ArchiveReader()
        for number, line in enumerate(file, start=1):
            key, _, rxfilename = line.decode("utf-8", "surrogateescape").strip().partition(" ")
            if not rxfilename:
                raise UserError(f'{_name(rest)}:{number}: "{key}" is not "key file"')
            if no_pipes:
                _refuse_command(f'{_name(rest)}:{number}: utterance "{key}"', rxfilename)
            try:
                yield key, reader.value(rxfilename.strip())
            except UserError as fault:
                raise UserError(f'utterance "{key}": {fault}') from None


@contextmanager
def open_writer(wspecifier: str, compression_method: int | None = None, no_pipes: bool = False) -> Iterator[Write]:
    """write(key, value) into a table; files appear when the block ends well, an scp last.

    compression_method: as encode takes it. Raises UserError for a specifier that is none, a command that fails and,
    with no_pipes, any command.
    """
    kinds, rest = _parse(wspecifier, _WRITE_OPTIONS, _WRITING)
    text = "t" in wspecifier.partition(":")[0].split(",")
    ark, comma, scp = rest.partition(",") if "scp" in kinds else (rest, "", "")
    if kinds not in (["ark"], ["ark", "scp"]) or ("scp" in kinds and not (comma and ark and scp)):
        raise UserError(f'"{wspecifier}" cannot be written; give {_WRITING}')
    if text and compression_method is not None:
        raise UserError(f'"{wspecifier}": text is not compressed; leave the one or the other out')
    if scp and (ark == "-" or "|" in (ark.strip()[0], ark.strip()[-1])):
        raise UserError(f'"{wspecifier}": an scp can only point into a file, not into "{ark}"')
    if no_pipes and ark.lstrip().startswith("|"):
        raise _refused(f'"{wspecifier}"')
    if ark.strip() == "-" or ark.lstrip().startswith("|"):
        with _open_sink(ark.strip()) as file:
            yield _writer_to(file, compression_method, text)
        return
    with ArchiveWriter(ark.strip(), scp or None, compression_method, text) as writer:
        yield writer.write


def _parse(specifier: str, options: set[str], forms: str) -> tuple[list[str], str]:
    """(["ark"], ["scp"] or both, what follows the colon)."""
    head, colon, rest = specifier.partition(":")
    words = head.split(",")
    unknown = [word for word in words if word not in _KINDS and word not in options]
    if not colon or not rest.strip() or unknown or len(set(words)) < len(words):
        said = f'option "{unknown[0]}" is not known; ' if unknown and words[0] in _KINDS else ""
        raise UserError(f'"{specifier}": {said}give {forms}')
    return sorted(word for word in words if word in _KINDS), rest


def _refuse_command(what: str, rxfilename: str) -> None:
    if runs_command(rxfilename):
        raise _refused(what)


def _refused(what: str) -> UserError:
    return UserError(f"{what}: a command, and --no-pipes runs none; leave --no-pipes out if you trust it")


def _name(place: str) -> str:
    return "the standard input" if place.strip() == "-" else place.strip()


def _writer_to(file: IO[bytes], compression_method: int | None, text: bool) -> Write:
    def write(key: str, value: np.ndarray) -> None:
        file.write(f"{key} ".encode() + (text_of(value) if text else encode(value, compression_method)))

    return write


@contextmanager
def _open_sink(name: str) -> Iterator[IO[bytes]]:
    """The standard output, or the input of a `| command`."""
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with subprocess.Popen(["bash", "-o", "pipefail", "-c", name[1:]], stdin=subprocess.PIPE) as process:
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            pass                      # the command left early: its exit code says whether that was well
    if process.returncode:
        raise UserError(f"{name}: the command failed (exit {process.returncode})")
