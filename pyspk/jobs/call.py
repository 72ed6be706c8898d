"""The call form that run.pl, queue.pl and slurm.pl share:

    CMD [options] [JOB=1:N] LOG COMMAND ARGS...

COMMAND runs once for each number of JOB (any identifier), whose name is replaced by the number in LOG and in
each word. Words that hold blanks, or that bash could not read, are quoted; all others go to bash as they are,
so that | < > && ; and $VAR mean what they mean there. A pipe fails when any part of it fails.
"""

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError

CALL_FORM = "[options] [JOB=1:N] LOG COMMAND ARGS..."


class Call(NamedTuple):
    """One call of a job runner, read and checked."""

    options: dict[str, str]      # as Kaldi names them in a queue's configuration: no dashes in front, _ for -
    native: tuple[str, ...]      # a queue's own, with one dash, as they are: ("-pe", "smp", "2")
    job_name: str                # "" when the call is no array
    jobs: range
    log: str
    words: tuple[str, ...]
    threads: int
    max_jobs_run: int

    def log_of(self, job: int) -> Path:
        """The log of `job`."""
        return Path(self._numbered(self.log, job))

    def command_of(self, job: int) -> str:
        """What bash is given for `job`."""
        return " ".join(_for_bash(self._numbered(word, job)) for word in self.words)

    @property
    def logs(self) -> str:
        """Where all logs are, in words."""
        return self.log.replace(self.job_name, "*") if self.job_name else self.log

    def to_json(self) -> dict:
        """What from_json makes the same call of."""
        return {**self._asdict(), "jobs": [self.jobs.start, self.jobs.stop]}

    @classmethod
    def from_json(cls, fields: dict) -> "Call":
        """The call that to_json gave."""
        return cls(**{**fields, "jobs": range(*fields["jobs"]), "words": tuple(fields["words"])})

    def _numbered(self, text: str, job: int) -> str:
        return text.replace(self.job_name, str(job)) if self.job_name else text


def parse_call(argv: list[str]) -> Call:
    """The call in `argv`. Options may stand before or after JOB=1:N.

    The default of --max-jobs-run is as many as this process has CPUs for, at --num-threads each.
    Raises UserError for an option without a value, a malformed range, a missing LOG or COMMAND, and for an
    array whose jobs would write one log.
    """
    rest, options, native, array = list(argv), {}, [], None
    while rest:
        if rest[0].startswith("-"):
            rest = _take_option(rest, options, native)
        elif found := _parse_range(rest[0]):
            if array:
                raise UserError(f"a second job range, {rest[0]}; the call is: {CALL_FORM}")
            array, rest = found, rest[1:]
        else:
            break
    if len(rest) < 2:
        raise UserError(f"no {'COMMAND after ' + rest[0] if rest else 'LOG'}; the call is: {CALL_FORM}")
    job_name, jobs = array or ("", range(1, 2))
    if len(jobs) > 1 and job_name not in rest[0]:
        raise UserError(f"{len(jobs)} jobs would write the one log {rest[0]}: "
                        f"put {job_name} in its name, e.g. {Path(rest[0]).with_suffix('')}.{job_name}.log")
    threads = _positive(options, "num_threads", 1)
    limit = _positive(options, "max_jobs_run", max(1, len(os.sched_getaffinity(0)) // threads))
    return Call(options, tuple(native), job_name, jobs, rest[0], tuple(rest[1:]), threads, limit)


def _take_option(words: list[str], options: dict[str, str], native: list[str]) -> list[str]:
    """What follows the option at the head of `words`, which goes into `options` or, with one dash, into `native`."""
    name, equals, value = words[0].partition("=")
    count = {"-V": 0, "-pe": 2}.get(name, 0 if equals else 1)      # Grid Engine: -V alone, -pe NAME SLOTS
    values = words[1:1 + count]
    if len(values) < count or any(re.match(r"-\D|[A-Za-z_]\w*=\d+:\d+$", value) for value in values):
        raise UserError(f"{name} needs a value; the call is: {CALL_FORM}")
    if name.startswith("--"):
        options[name[2:].replace("-", "_")] = value if equals else values[0]
    else:
        native += words[:1 + count]
    return words[1 + count:]


def _parse_range(word: str) -> tuple[str, range] | None:
    """("JOB", range(1, N + 1)) for JOB=1:N, or None for a word that is no range but a LOG."""
    match = re.fullmatch(r"([A-Za-z_]\w*)=([^/]*)", word, re.ASCII)
    if not match:
        return None
    name, text = match.groups()
    numbers = re.fullmatch(r"(\d+)(?::(\d+))?", text, re.ASCII)
    if not numbers:
        raise UserError(f"{word}: not a job range such as {name}=1:4 (for a log of that name say ./{word})")
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if not 1 <= first <= last:
        raise UserError(f"{word}: jobs count upwards from 1 or more, as in {name}=1:4")
    return name, range(first, last + 1)


def _positive(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise UserError(f'--{name.replace("_", "-")} must be a whole number of 1 or more, not "{text}"')
    return int(text)


def _for_bash(word: str) -> str:
    """`word` as it is where bash can read it, quoted where not: blanks, an open quote, a comment, nothing."""
    try:
        bare = bool(shlex.split(word)) and not re.search(r"\s|^#", word, re.ASCII)
    except ValueError:
        bare = False
    return word if bare else shlex.quote(word)
