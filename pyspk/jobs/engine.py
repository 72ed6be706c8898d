"""What a queue must be able to do for a job array, and how its commands are asked."""

import re
import shlex
import subprocess
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

from pyspk.errors import UserError

_ANSWER_S = 30.0      # after which a command that says nothing is slow
_TOO_MUCH = r"no suitable queues|cannot be satisfied|can not be satisfied|node configuration is not available"


class AwayError(Exception):
    """The engine cannot be reached, or does not answer, at this moment: its words."""


class FullError(Exception):
    """The engine takes no more jobs at this moment: its words."""


class Stand(Enum):
    """Where a task stands, as its engine sees it."""

    WAITS = "waits"
    RUNS = "runs"
    OVER = "over"      # ended, or will never begin


class View(NamedTuple):
    """What an engine says of one task."""

    stand: Stand
    words: str         # the engine's own: its state, and why it waits

    @property
    def is_cancelled(self) -> bool:
        """Whether someone took the task out of the queue."""
        return self.words.startswith("CANCELLED")


class Array(NamedTuple):
    """An array to submit."""

    name: str                 # no other job has it
    words: tuple[str, ...]    # the command that submits, with its options
    script: Path
    output: str               # where what a task itself says goes; its last TASK stands for its number
    tasks: range
    at_once: int | None       # tasks that may run at a time, where the options say so


class Engine(Protocol):
    """A queue. Each method raises AwayError when it cannot be reached, and UserError where it has no such command."""

    name: str                 # "Slurm"
    usual_conf: Path          # relative to the current folder
    built_in_conf: str
    task_variable: str        # in the environment of a task: its number
    number_of_job: str        # a template for a person who wants to cancel: "scancel {}"

    def submit(self, array: Array) -> str:
        """The number of the job that `array` is from now on. Raises FullError, and UserError with the engine's words.
        """

    def find(self, name: str) -> str | None:
        """The number of the job of that name; None when there is none, or none any more."""

    def look(self, job: str) -> dict[int, View]:
        """Task -> how it stands, of those that the engine still knows."""

    def cancel(self, name: str) -> None:
        """Take the job of that name, if it is there, out of the queue, and end what runs of it."""


def of_task(template: str, number: str) -> str:
    """The path of one task: `number` in place of the last TASK of `template`; the folders before it may be called so.
    """
    return number.join(template.rsplit("TASK", 1))


def ask(argv: Sequence[str], engine: str, away: str) -> subprocess.CompletedProcess:
    """What the command said, stdout and stderr as text, and its exit code.

    away: a pattern of what it says on stderr when its engine cannot be reached.
    Raises AwayError then, and when it says nothing for too long; UserError when there is no such command.
    """
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                              timeout=_ANSWER_S)
    except subprocess.TimeoutExpired:
        raise AwayError(f"{engine} is slow: {argv[0]} has not answered in {_ANSWER_S:g} s") from None
    except FileNotFoundError:
        raise UserError(f"{argv[0]}: no such program on PATH; jobs of {engine} are submitted from a machine that "
                        "has its commands, others run here with run.py") from None
    if done.returncode and re.search(away, done.stderr, re.IGNORECASE):
        raise AwayError(f"{engine} is down: {one_line(done.stderr)}")
    return done


def one_line(text: str) -> str:
    """`text` with all blanks made one."""
    return " ".join(text.split())


def refusal(engine: str, words: Sequence[str], done: subprocess.CompletedProcess) -> UserError:
    """The error that says why `engine` did not take the job that `words` ask for."""
    why = one_line(done.stderr or done.stdout) or f"{done.args[0]} ended with code {done.returncode}"
    hint = " (no machine has what it asks for)" if re.search(_TOO_MUCH, why) else ""
    return UserError(f"{engine} does not take the job{hint}: {why}; it was asked by: {shlex.join(words)}")
