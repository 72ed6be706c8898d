"""Job arrays: the call form of Kaldi's runners, here, through Slurm or Grid Engine, and by any runner.

    array.py          an array by any runner, as a step starts it
    runner.py         what run.py, slurm.py and queue.py do alike
    call.py           their call form
    logs.py           what stands in a log besides the job's own lines
    guard.py          commands that do not outlive who starts them
    here.py           an array on this machine
    supervision.py    an array in a queue, until each task has ended
    submission.py     its files, its way in and out
    task.py           what runs on a machine of the queue
    conf.py           what options mean to a queue
    engine.py         what a queue must be able to do
    slurm.py          Slurm does it
    gridengine.py     Grid Engine does it
"""

from pyspk.jobs.array import find_program, run_array
from pyspk.jobs.logs import exit_code

JOB = "SHARD_NO"       # the job name our own steps use: JOB itself is too common in paths

__all__ = ["JOB", "exit_code", "find_program", "run_array"]
