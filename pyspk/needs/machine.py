"""What there is on this machine, and how fast it is at a few utterances."""

import contextlib
import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pyspk.errors import UserError

_CGROUP = Path("/sys/fs/cgroup")


class Pace(NamedTuple):
    """What a few things took here."""

    n: int
    seconds: float


def free_bytes(folder: Path) -> int:
    """Room on the disk of `folder`, which need not exist yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def memory_bytes() -> int:
    """Memory that programs may take now: of the machine, or what its container leaves."""
    # Linux counts what it can give back, too.
    free = _of_proc("meminfo", "MemAvailable") or os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):         # no limit: no such file, or "max"
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    return free


def memory_taken_bytes() -> int:
    """The most memory that this program has had, since it began (getrusage counts what ran in its process before)."""
    return _of_proc("self/status", "VmHWM") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _of_proc(name: str, key: str) -> int:
    """A number of kB of /proc/NAME in bytes; 0 where it is not told."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc", name).read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
    return 0


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def pace(act: Callable[[object], object], things: Sequence, budget_s: float) -> Pace:
    """How long `act` takes for some of `things`, one after the other until the budget is spent; none: (0, 0).

    The first does not count where there are others: it pays for what is loaded once. A UserError is passed over: the
    job that meets it will say it.
    """
    took: list[float] = []
    for thing in things:
        began = time.perf_counter()
        try:
            act(thing)
        except UserError:
            continue
        took.append(time.perf_counter() - began)
        if sum(took) > budget_s and len(took) > 1:
            break
    counted = took[1:] or took
    return Pace(len(counted), sum(counted))
