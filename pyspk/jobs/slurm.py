"""Slurm, by its own commands: sbatch, squeue, scancel."""

import re
from pathlib import Path

from pyspk.jobs.engine import Array, AwayError, FullError, Stand, View, ask, of_task, one_line, refusal

_AWAY = r"unable to contact slurm|connection refused|timed out|zero bytes were transmitted|connect failure|" \
        r"communication connection|protocol authentication|munge"
_FULL = r"temporarily unable to accept|job submit limit|MaxSubmitJob|Resource temporarily unavailable"
_WAITS = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING"}
_OVER = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "BOOT_FAIL",
         "DEADLINE", "REVOKED"}
_NEVER = r"BadConstraints|DependencyNeverSatisfied|launch_failed_requeued_held|JobHoldMaxRequeue|PartitionTimeLimit"


class Slurm:
    """See engine.Engine."""

    name = "Slurm"
    usual_conf = Path("conf/slurm.conf")
    task_variable = "SLURM_ARRAY_TASK_ID"
    number_of_job = "scancel {}"
    # B: the signal is for the task that we submit, which hands it on; of itself Slurm sends it to steps alone.
    built_in_conf = """
        command sbatch --export=PATH --ntasks-per-node=1
        option mem=* --mem-per-cpu $0
        option mem=0
        option num_threads=* --cpus-per-task $0
        option time=* --time $0 --signal=B:USR1@90
        option gpu=* --gres=gpu:$0
        option gpu=0
        option partition=* --partition $0
        option max_jobs_run=*
        """

    def submit(self, array: Array) -> str:
        """See engine.Engine."""
        limit = f"%{array.at_once}" if array.at_once else ""
        output = of_task(array.output.replace("%", "%%"), "%a")
        done = self._ask(*array.words, "--parsable", f"--array={array.tasks[0]}-{array.tasks[-1]}{limit}",
                         f"--job-name={array.name}", f"--output={output}", str(array.script))
        number = re.search(r"^(?:Submitted batch job )?(\d+)", done.stdout, re.MULTILINE)
        if done.returncode == 0 and number:
            return number[1]
        if re.search(_FULL, done.stderr):
            raise FullError(done.stderr.strip().splitlines()[-1])
        raise refusal(self.name, array.words, done)

    def find(self, name: str) -> str | None:
        """See engine.Engine."""
        return next(iter(self._queue("--name", name, "-o", "%F").split()), None)

    def look(self, job: str) -> dict[int, View]:
        """See engine.Engine."""
        said = self._queue("-r", "-t", "all", "-j", job, "-o", "%K|%T|%r")
        lines = (line.split("|") for line in said.splitlines() if line.count("|") == 2)
        return {int(task): _view(state, reason) for task, state, reason in lines if task.isdigit()}

    def cancel(self, name: str) -> None:
        """See engine.Engine."""
        self._ask("scancel", "--name", name)

    def _queue(self, *options: str) -> str:
        """What squeue says; nothing of a job that it does not know any more."""
        done = self._ask("squeue", "-h", *options)
        if done.returncode and "Invalid job id" not in done.stderr:
            raise AwayError(f"{self.name} does not say how its jobs stand: {one_line(done.stderr)}")
        return done.stdout

    def _ask(self, *argv: str):
        return ask(argv, self.name, _AWAY)


def _view(state: str, reason: str) -> View:
    words = f"{state} ({reason})" if reason not in ("None", "") else state
    if state in _OVER or (state in _WAITS and re.search(_NEVER, reason)):
        return View(Stand.OVER, words)
    return View(Stand.WAITS if state in _WAITS else Stand.RUNS, words)
