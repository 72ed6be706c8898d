#!/usr/bin/env python3
"""Runs a command, or an array of commands, on this machine: the call form of Kaldi's run.pl.

    run.py [options] [JOB=1:N] LOG COMMAND ARGS...

    run.py JOB=1:4 exp/log/count.JOB.log wc -l data/split4/JOB/utt2spk
    run.py exp/log/sort.log sort data/utt2spk '|' head '>' exp/first

  --max-jobs-run N     at most N jobs at a time (default: as many as there are CPUs, at --num-threads each)
  --num-threads T      threads that a job uses
  --mem, --gpu, --config, or any other option with its value: for a queue, and ignored here

Exit: 0 all jobs ended well; 1 a job failed or the call is wrong; 99 each that failed asks to be started again; 130, 143
Ctrl-C, SIGTERM (it ends its jobs).
"""

import signal
import sys

import bootstrap

from pyspk.jobs.here import run_jobs
from pyspk.jobs.runner import main

if __name__ == "__main__":
    sys.exit(main(__doc__, run_jobs, "its jobs were ended", {signal.SIGINT: 130, signal.SIGTERM: 143}))
