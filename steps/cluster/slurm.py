#!/usr/bin/env python3
"""Runs a command, or an array of commands, through Slurm: the call form of Kaldi's slurm.pl.

    slurm.py [options] [JOB=1:N] LOG COMMAND ARGS...

    slurm.py --mem 4G JOB=1:4 exp/log/count.JOB.log wc -l data/split4/JOB/utt2spk
    slurm.py --gpu 1 --num-threads 4 --time 24:00:00 exp/log/train.log train.py data/train exp

  --mem 4G             memory for each CPU
  --num-threads T      CPUs
  --gpu N              GPUs
  --time D-HH:MM:SS    time limit, of which a job is told 90 s before (SIGUSR1)
  --partition NAME
  --max-jobs-run N     at most N jobs at a time
  --config FILE        what these and other options mean to sbatch, as in Kaldi's; default: conf/slurm.conf
  --patience S         how long to wait for a Slurm that is down (default: 600)
  -p, -A, ...          sbatch's own options, with one dash, before LOG

Scripts are in q/ beside the log. Each job reads ./path.sh first.
Exit: 0 all jobs ended well; 1 a job failed, was cancelled or got lost, or the call is wrong; 99 each that failed asks
to be started again; 130 Ctrl-C, 2 SIGTERM (it cancels its jobs).
"""

import signal
import sys

import bootstrap

from pyspk.jobs.runner import complain, main
from pyspk.jobs.slurm import Slurm
from pyspk.jobs.supervision import run_in_queue

if __name__ == "__main__":
    sys.exit(main(__doc__, lambda call: run_in_queue(Slurm(), call, complain), "its jobs were cancelled",
                  {signal.SIGINT: 130, signal.SIGTERM: 2, signal.SIGHUP: 2}))
