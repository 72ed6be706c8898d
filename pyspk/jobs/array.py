"""A job array by any runner, as the steps start it."""

import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pyspk.errors import UserError, first_few
from pyspk.jobs.guard import Guard
from pyspk.jobs.logs import exit_code

RUNNERS = Path(__file__).resolve().parents[2] / "steps" / "cluster"
POLL_S = 0.02
SETTLE_S = 10.0        # how long a network file system may take to show the last lines of a log


def run_array(command: list[str], n_jobs: int, log_pattern: str | Path, argv: list[str],
              job_name: str = "JOB") -> None:
    """Run `COMMAND JOB=1:n_jobs log_pattern argv...`; return when each log says that its job ended well.

    command: the words of a step's --cmd, e.g. ["queue.pl", "--mem", "4G"]. argv: job_name in a word becomes the
    number; otherwise each word reaches the job as it is here, blanks, quotes and | included, by any runner.
    The exit code alone is not believed: slurm.pl exits 0 when a job could not begin for want of path.sh.
    Raises UserError naming the logs of the jobs that failed, or the program that is not there.
    """
    if n_jobs < 1:
        raise UserError(f"the number of jobs (--nj) must be 1 or more, not {n_jobs}")
    logs = [Path(str(log_pattern).replace(job_name, str(job))) for job in range(1, n_jobs + 1)]
    words = map(_through_any_runner, argv)
    call = [*find_program(command), f"{job_name}=1:{n_jobs}", str(log_pattern), *words]
    for log in logs:
        log.unlink(missing_ok=True)                   # so that what a log says is said by this run
    with Guard() as guard:
        code = guard.start(call, stdin=subprocess.DEVNULL).wait()
    patience = time.monotonic() + (SETTLE_S if code == 0 else 0)
    while bad := [log for log in logs if not _ended_well(log)]:
        if time.monotonic() >= patience:
            hint = "see" if any(log.exists() for log in bad) else "and wrote no log:"
            raise UserError(f"{len(bad)} of {n_jobs} jobs failed, {hint} {first_few(bad)} "
                            f"({shlex.join(command)} exited with code {code})")
        time.sleep(POLL_S)
    if code:
        raise UserError(f"{shlex.join(command)} exited with code {code}, although each job ended well; "
                        f"see {log_pattern}")


def find_program(command: list[str]) -> list[str]:
    """`command` with its program's path. This tree's own runners are found without path.sh, too.

    Raises UserError when there is no such program.
    """
    if not command:
        raise UserError("--cmd is empty; give it a job runner, e.g. --cmd run.py")
    program, *options = command
    if path := shutil.which(program):
        return [path, *options]
    if (RUNNERS / program).is_file():
        return [sys.executable, str(RUNNERS / program), *options]
    raise UserError(f"{program}: no such program on PATH; choose another job runner with --cmd, "
                    "e.g. --cmd run.py, or set KALDI_ROOT and source path.sh for Kaldi's own")


def _ended_well(log: Path) -> bool:
    """Whether the runner wrote below `log` that the job ended with code 0."""
    return exit_code(log) == 0


def _through_any_runner(word: str) -> str:
    """What bash reads as `word`, so written that it holds no blank: then no runner quotes it again."""
    if not word:
        return "''"
    escaped = re.sub(r"[^\w@%+=:,./\-\u0080-\U0010ffff]", lambda match: f"\\x{ord(match[0]):02x}", word)
    return word if escaped == word else f"$'{escaped}'"
