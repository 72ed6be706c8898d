"""Downloads that were not unpacked yet, or came in pieces of which some are missing."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError


class Archive(NamedTuple):
    """An archive as it is downloaded: whole, or in pieces to be joined."""

    whole: str                      # *.zip or *.tar.gz
    pieces: Sequence[str] = ()      # all of one length, and alike but for the last letter
    folder: str = "."               # to unpack it in


def lettered(stem: str, last: str) -> tuple[str, ...]:
    """The names `stem`a, `stem`b, ... up to `last`, as split(1) gives them."""
    return tuple(f"{stem}{chr(code)}" for code in range(ord("a"), ord(last) + 1))


def refuse_packed(root: Path, archives: Sequence[Archive]) -> None:
    """Raise a UserError when `archives` lie in `root`: which they are, the commands that unpack them, what is missing.
    """
    found, missing, commands = [], [], []
    for whole, pieces, folder in archives:
        if (root / whole).exists():
            found.append(whole)
            commands.append(_unpack(whole, folder))
        elif there := [piece for piece in pieces if (root / piece).exists()]:
            found += there
            missing += [piece for piece in pieces if piece not in there]
            commands.append(f"cat {pieces[0][:-1]}? > {whole} && {_unpack(whole, folder)}")
    if found:
        first = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing: download that first, then " \
            if missing else ""
        raise UserError(f"{root}: still packed ({', '.join(found)}); {first}unpack with: "
                        f"{' && '.join([f'cd {shlex.quote(str(root))}', *commands])}")


def _unpack(archive: str, folder: str) -> str:
    if archive.endswith(".zip"):
        return f"unzip -q {archive}" + (f" -d {folder}" if folder != "." else "")
    return f"tar xzf {archive}" + (f" -C {folder}" if folder != "." else "")
