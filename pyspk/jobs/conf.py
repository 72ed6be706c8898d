"""What the options of a runner mean to a queue: the grammar that Kaldi's conf/queue.conf and conf/slurm.conf have.

    command qsub -cwd              # how a job is submitted; once
    default gpu=0                  # the value of an option that is not given
    option gpu=0                   # what that value adds to the command: nothing
    option gpu=* -l gpu=$0         # any other value, which stands for $0
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError
from pyspk.tables.text import read_text

_ANY = "*"
_KINDS = "command WORDS, default NAME=VALUE, option NAME=VALUE WORDS, option NAME=* WORDS with $0 for the value"


class Conf(NamedTuple):
    """A configuration, read and checked."""

    source: str                                        # the file, or that there is none
    command: tuple[str, ...]                           # e.g. ("qsub", "-cwd")
    defaults: dict[str, str]
    options: dict[str, dict[str, tuple[str, ...]]]     # name -> value, or "*" -> the words that it adds

    def words(self, options: Mapping[str, str]) -> list[str]:
        """The command with what `options`, and the defaults of others, add to it.

        Raises UserError, listing what there is, for an option or a value that the configuration does not know.
        """
        words = list(self.command)
        for name, value in {**self.defaults, **options}.items():
            if name not in self.options:
                known = ", ".join(f"--{one.replace('_', '-')}" for one in sorted(self.options))
                raise UserError(f"unknown option --{name.replace('_', '-')}; {self.source} knows {known or 'none'}, "
                                "and every runner --config and --patience")
            values = self.options[name]
            if value not in values and _ANY not in values:
                raise UserError(f"--{name.replace('_', '-')} {value}: {self.source} knows {', '.join(values)}")
            added = values.get(value, values.get(_ANY))
            words += added if value in values else (word.replace("$0", value) for word in added)
        return words


def load_conf(given: str | None, usual: Path, built_in: str) -> Conf:
    """The configuration in the file `given` by --config; without it in `usual`, if it is there, else `built_in`.

    Raises UserError for a file that is not there, and what parse_conf raises.
    """
    if given is not None and not Path(given).is_file():
        raise UserError(f"--config {given}: no such file")
    path = Path(given) if given is not None else usual
    if not path.is_file():
        return parse_conf(built_in, f"this runner without {usual}")
    return parse_conf(read_text(path), str(path))


def parse_conf(text: str, source: str) -> Conf:
    """The configuration `text`. Raises UserError naming the line of `source` that is none, or that no command is there.
    """
    command, defaults, options = (), {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{source}:{number}"
        words = _words(line, where)
        kind, rest = (words[0], words[1:]) if words else ("", [])
        if kind == "command" and rest:
            command = tuple(rest)
        elif kind == "default" and len(rest) == 1 and (pair := re.fullmatch(r"(\w+)=(\S+)", rest[0])):
            defaults[pair[1]] = pair[2]
        elif kind == "option" and rest and (pair := re.fullmatch(r"(\w+)=(\S+)", rest[0])):
            options.setdefault(pair[1], {})[pair[2]] = tuple(rest[1:])
        elif words:
            raise UserError(f"{where}: \"{line.strip()}\" is none of: {_KINDS}")
    if not command:
        raise UserError(f"{source}: no line says how to submit a job, e.g. command qsub -cwd")
    return Conf(source, command, defaults, options)


def _words(line: str, where: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as fault:
        raise UserError(f"{where}: {fault}".replace("No closing", "no closing")) from None
