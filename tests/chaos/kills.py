"""kill -9 at random moments of every stage, of one process or of all; and two runs at once."""

import fcntl
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
from conftest import wait_until_nothing_mentions

from chaos.conftest import STAGES, family, kill

VICTIMS = {"run.sh alone": lambda pids, _: pids[:1], "all processes": lambda pids, _: pids[::-1],
           "one process": lambda pids, draw: [draw.choice(pids)]}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_moments(recipe, happened, pytestconfig, stage):
    draw = random.Random(f"{pytestconfig.getoption('seed')} {stage}")
    for i in range(pytestconfig.getoption("kills")):
        whom = list(VICTIMS)[i % len(VICTIMS)]
        recipe.back_to(stage)
        running = recipe.start(stage)
        time.sleep(draw.uniform(0, recipe.seconds[stage]))
        was_over = running.poll() is not None
        kill(VICTIMS[whom](family(running.pid), draw))
        code = running.wait()
        wait_until_nothing_mentions(recipe.work, patience_s=30)
        recipe.run(stage)
        recipe.assert_as_undisturbed(stage)
        came_to = "it was over" if was_over or code == 0 else f"code {code}"
        happened(stage, f"kill -9 of {whom} ({came_to})", "the same command gives the same bytes, nothing left over")


def somebody_holds(work: Path) -> bool:
    """Whether a process of the recipe has one of its locks."""
    for path in work.rglob(".made/.*.lock"):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


@pytest.mark.parametrize("stage", [2, 3, 4])
def test_a_second_run_at_the_same_time_says_who_is_at_it(recipe, happened, stage):
    recipe.back_to(stage)
    running = recipe.start(stage)
    while not somebody_holds(recipe.work):
        assert running.poll() is None
        time.sleep(0.01)
    pids = family(running.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    said = recipe.run(stage, code=1)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    assert re.search(rf"process \d+ on {re.escape(os.uname().nodename)} is making .* at this moment", said), said
    assert running.wait() == 0
    recipe.assert_as_undisturbed(stage)
    happened(stage, "a second run meanwhile", "exit 1, saying who is at it; the first is not disturbed")
