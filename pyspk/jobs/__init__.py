"""Job arrays: the call form of Kaldi's runners, on this machine and by any runner."""

from pyspk.jobs.array import find_program, run_array
from pyspk.jobs.logs import exit_code

JOB = "SHARD_NO"       # the job name our own steps use: JOB itself is too common in paths

__all__ = ["JOB", "exit_code", "find_program", "run_array"]
