"""The engines of one node that tests/test_cluster.py runs on, as a test sees them."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).parent


class Slurm:
    """What a user, an operator and fate do to a Slurm of one node."""

    name, runner, kaldis, script = "Slurm", "slurm.py", "slurm.pl", HERE / "slurm.sh"
    time_limit = ("--time", "10")

    def is_up(self) -> bool:
        return answers("sinfo", "-h")

    def jobs(self) -> list[str]:
        """The numbers of the jobs that wait or run."""
        return sorted(set(said("squeue", "-h", "-o", "%F").split()))

    def cancel(self, job: str, task: int) -> None:
        said("scancel", f"{job}_{task}")

    def warn(self, job: str) -> None:
        """What Slurm does some time before a job's time limit."""
        said("scancel", "--batch", "--signal=USR1", job)

    def let_the_limit_come(self, job: str) -> None:
        """Within 30 s, the time between its looks at the limits.

        Had the job a minute from the first, a look in its first tenth of a second would send the only warning to
        nobody.
        """
        said("scontrol", "update", f"jobid={job}", "timelimit=1")

    def drain(self) -> None:
        said("scontrol", "update", f"nodename={self._node()}", "state=drain", "reason=test")

    def resume(self) -> None:
        said("scontrol", "update", f"nodename={self._node()}", "state=resume")

    def occupy(self, seconds: float) -> None:
        """A job of someone else that has the whole node."""
        said("sbatch", "--exclusive", "-o", "/dev/null", "--wrap", f"sleep {seconds}")

    def conf_with_memory_limit(self) -> str:
        return "command sbatch --export=PATH\noption mem=* --mem-per-cpu $0\n"

    def _node(self) -> str:
        return said("sinfo", "-h", "-o", "%n").split()[0]


class GridEngine:
    """What a user, an operator and fate do to a Grid Engine of one node."""

    name, runner, kaldis, script = "Grid Engine", "queue.py", "queue.pl", HERE / "gridengine.sh"
    time_limit = ("-l", "s_rt=0:0:3,h_rt=0:1:0")

    def is_up(self) -> bool:
        return answers("qstat")

    def jobs(self) -> list[str]:
        """The numbers of the jobs that wait or run."""
        return sorted(set(re.findall(r"^ *(\d+) ", said("qstat"), re.MULTILINE)))

    def cancel(self, job: str, task: int) -> None:
        said("qdel", f"{job}.{task}")

    def warn(self, job: str) -> None:
        """What Grid Engine does at a job's soft time limit."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                begun_by_it = Path("/proc", parent, "comm").read_text() == "sge_shepherd\n"
                if begun_by_it and f"\0JOB_ID={job}\0".encode() in (folder / "environ").read_bytes():
                    os.kill(int(folder.name), signal.SIGUSR1)

    def let_the_limit_come(self, job: str) -> None:
        """The soft one does so by itself."""

    def drain(self) -> None:
        said("qmod", "-d", "*")

    def resume(self) -> None:
        said("qmod", "-e", "*")

    def occupy(self, seconds: float) -> None:
        """A job of someone else that has the whole node."""
        slots = re.search(r"slots=(\d+)", said("qconf", "-se", self._node()))[1]
        said("qsub", "-b", "y", "-pe", "smp", slots, "-o", "/dev/null", "-j", "y", "sleep", str(seconds))

    def conf_with_memory_limit(self) -> str:
        return "command qsub -cwd -S /bin/bash\noption mem=* -l h_vmem=$0\n"

    def _node(self) -> str:
        return said("qconf", "-sel").split()[0]


def said(*command: str) -> str:
    """What the command says on stdout."""
    return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout


def answers(*command: str) -> bool:
    """Whether the command is there and ends well, soon."""
    try:
        return shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True,
                                                                           timeout=10).returncode
    except subprocess.TimeoutExpired:
        return False


def wait_until(condition, seconds: float = 30):
    """What `condition()` returns when it is first true."""
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.1)
    return found
