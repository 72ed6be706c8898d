"""What runs on a machine of the queue: one job of a call, whose end it tells by a file.

Its own exit code is 0 whatever becomes of the job: Grid Engine would take 99 and 100 as orders, and a death by SIGKILL
as a reason to hold the task for an operator.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

from pyspk.errors import UserError
from pyspk.jobs.call import Call
from pyspk.jobs.engine import of_task
from pyspk.jobs.guard import Guard
from pyspk.jobs.here import POLL_S, Job
from pyspk.tables.atomic import not_through_links

_WARNINGS = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}      # of a limit that comes nearer
_ORDERS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_OFFER_EVERY_S = 2.0      # a warning that nobody heeds yet; it means reading all of /proc


def main() -> None:
    """Run task number argv[1] of the call that stands, with what else is to know, on stdin."""
    arrived: list[int] = []
    for number in _WARNINGS | _ORDERS:
        signal.signal(number, lambda number, _: arrived.append(number))
    task, about = int(sys.argv[1]), json.load(sys.stdin)
    call = Call.from_json(about["call"])
    status = Path(of_task(about["status"], str(task)))
    try:
        with Guard() as guard:
            job = Job(call, task, guard)
            told = _wait(job, arrived)
            guard.forget(job.process)
        write_status(status, about["name"], job.write_end(), told)
    except UserError as fault:      # there is no log to say it in
        print(fault, file=sys.stderr)
        write_status(status, about["name"], 1, 0)


def write_status(path: Path, name: str, code: int, told: int) -> None:
    """Say in `path`, which appears whole or not at all, with which code a task of the job `name` ended.

    told: the last signal that came to it, 0 for none.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", opener=not_through_links) as file:
        file.write(f"{name} {code} {told}\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_status(path: Path, name: str) -> tuple[int, int] | None:
    """(code, last signal) of what write_status wrote in `path` for the job `name`; None for anything else."""
    try:
        whose, code, told = path.read_text().split()
        return (int(code), int(told)) if whose == name else None
    except (OSError, ValueError):
        return None


def _wait(job: Job, arrived: list[int]) -> int:
    """The last of the signals that `arrived` until the job ended; each is handed on to it.

    A warning that nobody in the job heeds yet, say a program that is still loading, is kept until somebody does.
    """
    told, kept, offer_at = 0, [], 0.0
    while (running := job.process.poll() is None) or arrived:      # what ended it may have come to it and to us
        while arrived:
            told, offer_at = arrived.pop(0), 0.0
            kept.append(told)
        if running and kept and time.monotonic() >= offer_at:
            kept = [number for number in kept if not _hand_on(job.process.pid, number)]
            offer_at = time.monotonic() + _OFFER_EVERY_S
        time.sleep(POLL_S)
    return told


def _hand_on(group: int, number: int) -> bool:
    """Whether somebody took the signal.

    An order goes to all processes of the group; a warning, which would end the others, to those that heed it.
    """
    if number in _ORDERS:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
        return True
    taken = False
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            in_group = int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group
            heeds = re.search(r"^SigCgt:\t(\w+)", (folder / "status").read_text(), re.MULTILINE)
            if in_group and heeds and int(heeds[1], 16) >> (number - 1) & 1:
                os.kill(int(folder.name), number)
                taken = True
    return taken
