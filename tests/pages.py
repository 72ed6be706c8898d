"""What README.md and docs/*.md tell a reader to type: the commands of their code blocks, and those within sentences."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"```(\w*)$")
_INLINE = re.compile(r"`([^`\n]+)`")
_PROGRAM = re.compile(r"(^|/)[\w.-]+\.(py|sh)$")
SHELL = {"", "sh", "bash", "shell", "console"}


class Block(NamedTuple):
    """A code block: the page's line of its first line, its language ("" where it is only indented), its lines."""

    line: int
    language: str
    lines: list[str]


class Command(NamedTuple):
    """A command of a page; `line` is that of its first word."""

    line: int
    text: str


def blocks(page: Path) -> list[Block]:
    """The indented and the fenced blocks of a page, without what indents them all."""
    found, fence, before = [], None, ""      # before: what the line before is: text, indented, or blank
    indented: Block | None = None            # the block that an indented line would go on with
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if fence is not None:
            if line.strip() == "```":
                fence = None
            else:
                found[-1].lines.append(line)
            continue
        if mark := _FENCE.match(line.strip()):
            fence, indented, before = mark[1], None, "blank"
            found.append(Block(number + 1, fence, []))
        elif line.startswith("    ") and before != "text":
            if indented is None:
                found.append(indented := Block(number, "", []))
            indented.lines.extend([""] * (number - indented.line - len(indented.lines)))
            indented.lines.append(line[4:])
            before = "indented"
        elif line.strip():
            indented, before = None, "text"
        else:
            before = "blank"
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a shell block, one a line; a line that ends in a backslash goes on in the next."""
    found, start, text = [], block.line, ""
    for number, line in enumerate(block.lines, start=block.line):
        start, text = (number, line) if not text else (start, text + line.strip())
        if text.endswith("\\"):
            text = text[:-1]
            continue
        if text.strip() and not text.lstrip().startswith("#"):
            found.append(Command(start, text.strip()))
        text = ""
    return found


def inline_commands(page: Path) -> list[Command]:
    """What stands between backquotes within a sentence and begins with a program of ours, or with pyspk."""
    found = []
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        for text in [] if line.startswith("    ") else _INLINE.findall(line):
            first = text.split()[0]
            if (_PROGRAM.search(first) and not first.startswith("pyspk/")) or first == "pyspk":
                found.append(Command(number, text))
    return found


def words_of(command: str) -> list[str]:
    """The words of a command as the shell sees them, without its comment."""
    return shlex.split(command.replace("\\|", "|"), comments=True)
