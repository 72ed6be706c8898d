"""What every executable does alike: log lines, one-line errors, exit codes."""

import ctypes
import errno
import logging
import math
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pyspk.errors import INTERRUPTED, START_AGAIN, StartAgainError, UserError

log = logging.getLogger("pyspk")
_PR_SET_PDEATHSIG = 1      # linux/prctl.h
_WHAT_TO_DO = {errno.ENOSPC: "make room; the same command goes on from here",
               errno.EDQUOT: "make room; the same command goes on from here",
               errno.EROFS: "choose another place", errno.EACCES: "get the right to it, or choose another place",
               errno.EPERM: "it is another user's; choose another place",
               errno.ELOOP: "a symbolic link, through which nothing is written here; remove it"}


def run(command: click.Command, name: str | None = None) -> None:
    """Run a command line and leave the process: 0 done, 1 a user's mistake, 130 interrupted, 99 start again.

    UserError, click's usage errors and missing files end as one line on stderr. A step's command line is logged first;
    that of a command with a `name` of its own, which a person has just typed, is not. What `command` returns, if it is
    a number, is the exit code.
    """
    end_with_recipe()
    is_step, name = name is None, name or Path(sys.argv[0]).name
    level = logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR      # of several one speaks
    logging.basicConfig(format=f"{name}: %(message)s", level=level, stream=sys.stderr)
    if is_step and not {"--help", "-h"} & set(sys.argv[1:]):
        log.info("%s", shlex.join([name, *sys.argv[1:]]))
    try:
        code = command.main(standalone_mode=False, prog_name=name)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except (KeyboardInterrupt, click.Abort):
        log.error("interrupted; the same command goes on from here")
        sys.exit(INTERRUPTED)
    except StartAgainError as reason:
        log.error("%s; the same command goes on from here", reason)
        sys.exit(START_AGAIN)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as mistake:
        log.error("error: %s (see %s --help)", _one_line(mistake.format_message()), name)
    except BrokenPipeError:
        say_no_more()
    except UserError as mistake:
        log.error("error: %s", _one_line(str(mistake)))
    except OSError as fault:
        log.error("error: %s", _one_line(_of_system(fault)))
    sys.exit(1)


def say_no_more() -> None:
    """Lead stdout to nowhere: whoever read it went away, and what is left would be an error when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Finite(click.FloatRange):
    """A number in a range; nan and inf, which click lets pass, are none."""

    def convert(self, value, param, ctx):
        """As float."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


force_option = click.option("--force", is_flag=True, help="go on although the disk seems too small")
no_pipes_option = click.option("--no-pipes", is_flag=True, help='run no command that stands where a file could, '
                               'as "COMMAND |" in wav.scp: refuse it')


def job_array_options(command: Callable) -> Callable:
    """The options of every step that works in a job array: --nj, --cmd, --overwrite, --force, --no-pipes, and --job."""
    for option in (
        no_pipes_option,
        force_option,
        click.option("--job", type=int, hidden=True, help="do this job's share and nothing else"),
        click.option("--overwrite", is_flag=True, help="make anew what was made from other inputs or settings"),
        click.option("--cmd", default="run.py", show_default=True,
                     help="job runner with its options: run.py, slurm.py, queue.py, or Kaldi's run.pl, slurm.pl, "
                          "queue.pl"),
        click.option("--nj", default=4, show_default=True, type=click.IntRange(1), help="number of parallel jobs"),
    ):
        command = option(command)
    return command


def audio_options(command: Callable) -> Callable:
    """The options of every step that reads recordings: --resample and --channel."""
    for option in (
        click.option("--channel", help="of recordings with several channels: 0, 1, ... or mix"),
        click.option("--resample", type=bool, default=False, show_default=True, help="convert other sampling rates"),
    ):
        command = option(command)
    return command


config_option = click.option("--config", type=Path, help="options in Kaldi's format, one --name=value a line")


def feature_options(command: Callable) -> Callable:
    """The options of every step that writes features: --compress and --allow-failures."""
    for option in (
        click.option("--allow-failures", default=0, show_default=True, type=click.IntRange(0),
                     help="leave out up to so many utterances that fail, listed in failed_utts beside feats.scp"),
        click.option("--compress", type=bool, default=True, show_default=True,
                     help="one byte a value instead of four"),
    ):
        command = option(command)
    return command


def enrollment_options(command: Callable) -> Callable:
    """The options of every step that compares models of several utterances: --enroll-map and --enroll-average."""
    for option in (
        click.option("--enroll-average", type=click.Choice(["embedding", "score"]), default="embedding",
                     show_default=True, help="what is averaged over the utterances of a model"),
        click.option("--enroll-map", type=Path, metavar="FILE",
                     help='the enroll names are models; FILE has lines "MODEL UTT UTT ...", as spk2utt'),
    ):
        command = option(command)
    return command


def end_with_recipe() -> None:
    """Have the kernel end this process, by SIGTERM, when the run.sh that started it dies, be it by kill -9.

    Otherwise the step would go on unseen and meet its successor, the same command started again, over one file.
    Only for direct children of a recipe, which says its number in PYSPK_RECIPE_PID, and of torchrun.
    """
    recipe = str(os.getppid()) if "TORCHELASTIC_RUN_ID" in os.environ else os.environ.get("PYSPK_RECIPE_PID")
    if recipe == str(os.getppid()):
        end_with(int(recipe), signal.SIGTERM)


def end_with(parent: int, number: int) -> None:
    """Have the kernel (Linux alone does this) send signal `number` to this process when process `parent` dies.

    parent: the process that started this one; it may be gone already.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:      # it died in between
        os.kill(os.getpid(), number)


@contextmanager
def follow(path: Path, pattern: str, every_s: float = 0.5) -> Iterator[None]:
    """While the block runs, show the lines with `pattern` that come into the log `path`."""
    done = threading.Event()

    def show() -> None:
        shown, ended = 0, False
        while not ended:
            ended = done.wait(every_s)
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            shown = shown if shown <= len(lines) else 0      # begun anew
            for line in lines[shown:]:
                if pattern in line:
                    sys.stderr.write(f"{line}\n")
            shown = len(lines)

    path.unlink(missing_ok=True)
    follower = threading.Thread(target=show, daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _of_system(fault: OSError) -> str:
    """What the system refused, where that is known, and what to do where that can be told."""
    parts = [f"{fault.filename}: " if fault.filename else "", fault.strerror or str(fault)]
    if fault.errno in _WHAT_TO_DO:
        parts.append(f"; {_WHAT_TO_DO[fault.errno]}")
    return "".join(parts)


def _one_line(text: str) -> str:
    return " ".join(text.split())
