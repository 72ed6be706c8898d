"""Options in Kaldi's conf files: read, and each turned into the value it stands for."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pyspk.errors import UserError
from pyspk.tables.text import read_text


def boolean(text: str) -> bool:
    """What "true" or "false" says. Raises ValueError for anything else."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


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
        kind = {float: "a number", int: "a whole number", boolean: "true or false"}[convert]
        raise UserError(f"--{name}={text}: its value must be {kind}") from None


def unknown(name: str, kind: str, options: Mapping[str, object]) -> UserError:
    """The error for an option that is none of `options`; kind: "an fbank option"."""
    return UserError(f"--{name}: not {kind}; the options are {', '.join(f'--{known}' for known in sorted(options))}")
