"""Options in Kaldi's conf files: read, and each turned into the value it stands for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from pyspk.errors import UserError
from pyspk.tables.text import read_text


def boolean(text: str) -> bool:
    """What "true" or "false" says. Raises ValueError for anything else."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def number(text: str) -> float:
    """The finite number of single precision, as Kaldi has them, that `text` says. Raises ValueError for another."""
    if not abs(value := float(text)) <= float(np.finfo(np.float32).max):
        raise ValueError(text)
    return value


def whole_number(text: str) -> int:
    """The 32-bit whole number that `text` says. Raises ValueError for anything else."""
    if abs(value := int(text)) > np.iinfo(np.int32).max:
        raise ValueError(text)
    return value


T = TypeVar("T")


def configured(kind: Callable[[dict[str, str]], T], path: Path | None) -> tuple[T, dict[str, str]]:
    """(what `kind` makes of the options in the conf file `path`, these options); of none at all where path is None.

    Raises UserError as read_conf and `kind` do, and names the file.
    """
    if path is None:
        return kind({}), {}
    conf = read_conf(path)
    try:
        return kind(conf), conf
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None


def read_conf(path: str | Path) -> dict[str, str]:
    """Options of a Kaldi conf file, one `--name=value` a line, `#` for comments: name -> value.

    Raises UserError naming file and line for anything else, and for an option that comes twice.
    """
    conf: dict[str, str] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, equals, value = line.removeprefix("--").partition("=")
        if not line.startswith("--") or not equals or not value.strip():
            raise UserError(f'{path}:{number}: "{line}" is not --name=value')
        name = name.strip().replace("_", "-")
        if name in conf:
            raise UserError(f"{path}:{number}: --{name} comes twice")
        conf[name] = value.strip()
    return conf


def converted(name: str, text: str, convert: Callable) -> object:
    """The value that `text` stands for. Raises UserError saying what it must be."""
    try:
        return convert(text)
    except ValueError:
        kind = {number: "a number", whole_number: "a whole number", boolean: "true or false"}[convert]
        raise UserError(f"--{name}={text}: its value must be {kind}") from None


def unknown(name: str, kind: str, options: Mapping[str, object]) -> UserError:
    """The error for an option that is none of `options`; kind: "an fbank option"."""
    return UserError(f"--{name}: not {kind}; the options are {', '.join(f'--{known}' for known in sorted(options))}")
