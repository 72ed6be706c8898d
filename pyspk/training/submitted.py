"""Training as a job of a runner, on one machine or several, submitted again until it is done."""

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

from pyspk.console import follow
from pyspk.errors import START_AGAIN, StartAgainError, UserError
from pyspk.jobs import JOB, exit_code, run_array
from pyspk.tables.atomic import await_files
from pyspk.training.checkpoint import how_far

log = logging.getLogger("pyspk")
_TRIES = 3      # in a row, that end before a batch is done


def train_through(cmd: Sequence[str], argv: Sequence[str], exp_dir: Path, n_nodes: int) -> None:
    """Have the runner `cmd` run `argv` on each of n_nodes machines; return when EXP_DIR/final.pt is there.

    Each of several gets --node and --meeting besides. Jobs that were asked to end, as they are before a time limit,
    have saved where they are, and are submitted again.
    Raises StartAgainError when that happens for the third time in a row without progress, and what run_array raises.
    """
    idle = 0
    while True:
        before = how_far(exp_dir)
        logs = _submit(cmd, argv, exp_dir, n_nodes)
        if logs is None:
            return
        after = how_far(exp_dir)
        idle = 0 if after != before else idle + 1
        where = "before its first batch" if after is None else "after epoch {}, batch {}".format(*after)
        if idle == _TRIES:
            raise StartAgainError(f"the job was asked to end {idle} times in a row {where}, without any progress "
                                  f"({logs}), as by a time limit that is too short")
        log.info("the job was asked to end %s; submitting it again", where)


def _submit(cmd: Sequence[str], argv: Sequence[str], exp_dir: Path, n_nodes: int) -> str | None:
    """None when the training is done; when all its jobs asked to be started again, where their logs are."""
    pattern = exp_dir / "log" / ("train.log" if n_nodes == 1 else f"train.{JOB}.log")
    logs = [Path(str(pattern).replace(JOB, str(node))) for node in range(1, n_nodes + 1)]
    meeting = exp_dir / f".meeting.{secrets.token_hex(4)}"
    nodes = [] if n_nodes == 1 else ["--node", JOB, "--meeting", str(meeting)]
    try:
        with follow(logs[0], ": epoch "):
            run_array(list(cmd), n_nodes, pattern, [argv[0], *nodes, *argv[1:]], JOB)
        await_files([exp_dir / "final.pt"])
        return None
    except UserError:
        if any(exit_code(one) != START_AGAIN for one in logs):
            raise
        return str(pattern).replace(JOB, "*")
    finally:
        meeting.unlink(missing_ok=True)
