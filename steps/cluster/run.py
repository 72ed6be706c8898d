#!/usr/bin/env python3
"""Runs a command, or an array of commands, on this machine: the call form of Kaldi's run.pl.

    run.py [options] [JOB=1:N] LOG COMMAND ARGS...

    run.py JOB=1:4 exp/log/count.JOB.log wc -l data/split4/JOB/utt2spk
    run.py exp/log/sort.log sort data/utt2spk '|' head '>' exp/first

  --max-jobs-run N     at most N jobs at a time (default: as many as there are CPUs, at --num-threads each)
  --num-threads T      threads that a job uses
  --mem, --gpu, --config, or any other option with its value: for a queue, and ignored here

Exit: 0 all jobs ended well; 1 a job failed or the call is wrong; 130, 143 Ctrl-C, SIGTERM (it ends its jobs).
"""

import signal
import sys
from pathlib import Path

import bootstrap

from pyspk.console import end_with_recipe
from pyspk.errors import UserError, first_few
from pyspk.jobs import Call, last_lines, parse_call, run_jobs, signal_name


class StoppedError(Exception):
    """SIGTERM or Ctrl-C."""


def main(argv: list[str]) -> int:
    """The exit code."""
    if argv[:1] in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:        # nohup and & mean what they say
            signal.signal(number, _stop)
    try:
        end_with_recipe()
        call = parse_call(argv)
        failed = run_jobs(call)
    except (UserError, OSError) as mistake:
        return _complain(f"error: {mistake}")
    except StoppedError as stop:
        number = stop.args[0]
        _complain(f"stopped by {signal.Signals(number).name}; its jobs were ended, log is in {_logs(call)}")
        return 128 + number
    return _report(call, failed) if failed else 0


def _report(call: Call, failed: list[tuple[Path, int]], shown: int = 3) -> int:
    _complain(f"{len(failed)} / {len(call.jobs)} failed, log is in {_logs(call)}")
    for log, code in failed[:shown]:
        name = signal_name(code)
        cause = f" ({name}{': out of memory?' if name == 'SIGKILL' else ''})" if name else ""
        _complain(f"{log} ended with code {code}{cause}; its last lines:")
        print(*(f"    {line}" for line in last_lines(log)), sep="\n", file=sys.stderr)
    if failed[shown:]:
        _complain(f"the others that failed: {first_few([log for log, _ in failed[shown:]], 20)}")
    return 1


def _logs(call: Call) -> str:
    return call.log.replace(call.job_name, "*") if call.job_name else call.log


def _complain(text: str) -> int:
    print(f"run.py: {text}", file=sys.stderr)
    return 1


def _stop(number: int, _frame) -> None:
    raise StoppedError(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
