"""What the runners in steps/cluster do alike: read the call, heed signals, and say what failed."""

import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pyspk.console import end_with_recipe, say_no_more
from pyspk.errors import START_AGAIN, UserError, first_few
from pyspk.jobs.call import Call, parse_call
from pyspk.jobs.logs import Failure, last_lines

_SHOWN = 3      # of the jobs that failed


class StoppedError(Exception):
    """One of the signals that end a runner came: its number."""


def main(explanation: str, run: Callable[[Call], list[Failure]], ends: str, codes: Mapping[int, int]) -> int:
    """The exit code of the runner that this process is, whose `explanation` --help prints.

    run: runs the jobs of a call, and ends them when a StoppedError goes through it; what failed. ends: what becomes of
    the jobs then, in words. codes: signals that end this runner -> its exit code.
    """
    argv = sys.argv[1:]
    if argv[:1] in (["--help"], ["-h"]):
        try:
            print(explanation, flush=True)
        except BrokenPipeError:      # as "| head" does
            say_no_more()
        return 0
    for number in codes:
        if signal.getsignal(number) is not signal.SIG_IGN:        # nohup and & mean what they say
            signal.signal(number, _stop)
    logs = ""
    try:
        end_with_recipe()
        call = parse_call(argv)
        logs = f", log is in {call.logs}"
        failed = run(call)
    except (UserError, OSError) as mistake:
        return complain(f"error: {mistake}")
    except StoppedError as stop:
        number = stop.args[0]
        complain(f"stopped by {signal.Signals(number).name}; {ends}{logs}")
        return codes[number]
    return _report(call, failed) if failed else 0


def complain(text: str) -> int:
    """1, the exit code that goes with it, after this program said `text`."""
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)
    return 1


def _report(call: Call, failed: list[Failure]) -> int:
    complain(f"{len(failed)} / {len(call.jobs)} failed, log is in {call.logs}")
    for failure in failed[:_SHOWN]:
        complain(f"{failure}; its last lines:")
        out = last_lines(failure.out) if failure.out else []
        print(*(f"    {line}" for line in [*last_lines(failure.log), *out]), sep="\n", file=sys.stderr)
    if others := [failure.log for failure in failed[_SHOWN:]]:
        complain(f"the others that failed: {first_few(others, 20)}")
    return START_AGAIN if all(failure.code == START_AGAIN for failure in failed) else 1


def _stop(number: int, _frame) -> None:
    raise StoppedError(number)
