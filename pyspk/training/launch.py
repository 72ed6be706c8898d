"""Several processes of one command on this machine, which end together, alone or beside those of other machines."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Sequence

import torch

from pyspk.errors import INTERRUPTED, START_AGAIN
from pyspk.training.interruption import SIGNALS, handling
from pyspk.training.nodes import ALONE, Nodes
from pyspk.world import check_gpus

log = logging.getLogger("pyspk")
_LOOK_EVERY_S = 0.1


def launch(n_processes: int, device: torch.device, command: Sequence[str], grace_s: float = 60.0,
           nodes: Nodes = ALONE) -> int:
    """Run `command` as n_processes processes that find each other with world.joined; the exit code of all.

    Of several `nodes` each calls it; their processes, as many on each, find each other, too.

    It is 0 when each ends with 0, else that of the first that did not, 128 + N for one that signal N ended. The others
    then get SIGTERM, unless it was interrupted, as they will be, and SIGKILL after grace_s. SIGINT, SIGTERM and SIGUSR1
    that come here reach all; one that they end, since it had not got as far as heeding them, counts as if it had. When
    this process is killed itself, a step among its processes gets SIGTERM (console.end_with_recipe).

    torchrun does the same on several machines, but SIGUSR1 ends it alone, and its exit code is always 1.

    Raises UserError for more processes than GPUs and for a first node that does not come, FileNotFoundError for a
    command that is none. Call it from the main thread.
    """
    check_gpus(n_processes, device)
    host, port, _held = nodes.meet(n_processes)
    processes: list[subprocess.Popen] = []
    arrived: list[int] = []
    with handling(SIGNALS, lambda number, _: arrived.append(number)):
        try:
            for local_rank in range(n_processes):
                environment = _environment(local_rank, n_processes, nodes, host, port)
                # In a group of its own a process gets Ctrl-C from here alone, and not from the terminal as well.
                processes.append(subprocess.Popen(command, env=environment, process_group=0))
            return _wait(processes, arrived, grace_s)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _environment(local_rank: int, n_processes: int, nodes: Nodes, host: str, port: int) -> dict[str, str]:
    """torchrun's variables, which world.joined reads, and two more, over those of this process."""
    n_threads = max(1, (os.cpu_count() or 1) // n_processes)
    return {"OMP_NUM_THREADS": str(n_threads), **os.environ,
            "RANK": str((nodes.this - 1) * n_processes + local_rank), "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(nodes.count * n_processes), "MASTER_ADDR": host, "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",            # rank 0 need not open the port: it is open
            "PYSPK_RECIPE_PID": str(os.getpid())}


def _wait(processes: list[subprocess.Popen], arrived: list[int], grace_s: float) -> int:
    """The exit code of `processes`, when none is left."""
    failed, kill_at = None, float("inf")
    passed_on: set[int] = set()
    while True:
        running = [process for process in processes if process.poll() is None]
        while arrived:
            passed_on.add(number := arrived.pop(0))
            _send(running, number)
        if failed is None and (failed := _failed(processes)):
            code = _as_if_heeded(failed.returncode, passed_on)
            if code not in (INTERRUPTED, START_AGAIN):
                log.error("process %d of %d %s", processes.index(failed) + 1, len(processes), _fate(failed.returncode))
                _send(running, signal.SIGTERM)
            kill_at = time.monotonic() + grace_s
        if not running:
            break
        if time.monotonic() > kill_at:
            _send(running, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)
    if failed is None:
        return 0
    return code if code > 0 else 128 - code


def _as_if_heeded(code: int, passed_on: set[int]) -> int:
    """The exit code of a process that one of the signals passed_on ended, had it been able to heed it; else `code`."""
    if -code not in passed_on:
        return code
    return INTERRUPTED if -code == signal.SIGINT else START_AGAIN


def _send(processes: list[subprocess.Popen], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def _failed(processes: list[subprocess.Popen]) -> subprocess.Popen | None:
    """One that ended with another code than 0; of several, one that a signal ended, since others fail when it is gone.
    """
    ended = [process for process in processes if process.returncode]
    return min(ended, key=lambda process: process.returncode, default=None)


def _fate(code: int) -> str:
    """ "ended with code 1" or "was ended by SIGKILL"."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
