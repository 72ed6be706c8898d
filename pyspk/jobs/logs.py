"""The log of a job: what its runner writes around the job's own lines, and what can be read from it."""

import os
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import START_AGAIN


class Failure(NamedTuple):
    """A job that failed."""

    log: Path
    code: int                     # its exit code; 128 + n when signal n ended it
    task: str = ""                # in a queue, which task of which job it was
    why: str = ""                 # what became of it, when it did not end by itself
    out: Path | None = None       # what it said where there was no log yet, if that is there

    def __str__(self) -> str:
        """Which job, and how it ended."""
        name = signal_name(self.code)
        cause = f" ({name}{': out of memory?' if name == 'SIGKILL' else ''})" if name else ""
        if self.code == START_AGAIN:
            cause = " (it asks to be started again)"
        ended = f"{self.log} ended with code {self.code}{cause}"
        if self.why:
            return f"{self.task} {self.why}; its log is {self.log}"
        return f"{self.task}: {ended}" if self.task else ended


def write_end(log: Path, code: int, why: str) -> None:
    """Write below `log` how a job ended that could not do it itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    gap = "\n" if log.exists() and tail(log, 1) not in ("", "\n") else ""
    with log.open("a") as file:
        file.write(f"{gap}# {why}\n# Ended (code {code}) at {date(time.time())}\n")


def last_lines(log: Path, limit: int = 10) -> list[str]:
    """The last `limit` lines that a job wrote to `log`, and its command where that is near; none where no log is."""
    if not log.exists():
        return []
    runners_own = re.compile(r"# (Started at|Accounting:|Ended) .*|#")
    return [line for line in tail(log, 8192).splitlines() if not runners_own.fullmatch(line)][-limit:]


def exit_code(log: Path) -> int | None:
    """With which code a job ended, as its runner wrote below `log`; None when it did not."""
    ends = re.findall(r"^# (?:Ended \(code (\d+)\)|Finished at .* with status (\d+)$)",
                      tail(log, 1024) if log.exists() else "", re.MULTILINE)
    return int("".join(ends[-1])) if ends else None


def signal_name(code: int) -> str:
    """The signal that an exit code above 128 stands for, e.g. SIGKILL for 137; "" for other codes."""
    try:
        return signal.Signals(code - 128).name if code > 128 else ""
    except ValueError:
        return ""


def tail(log: Path, n_bytes: int) -> str:
    """The end of `log`, at most n_bytes of it."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - n_bytes))
        return file.read().decode("utf-8", "replace")


def date(seconds: float) -> str:
    """A time of time.time(), as logs have it: Tue Nov  3 09:01:07 UTC 2026."""
    return time.strftime("%a %b %e %H:%M:%S %Z %Y", time.localtime(seconds))
