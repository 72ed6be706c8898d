#!/usr/bin/env bash
# Sourced by run.sh: how jobs run. --train-cmd and --cuda-cmd on the command line win; docs/cluster.md says more.
#   run.py                    on this machine
#   slurm.py --mem 4G         through Slurm; conf/slurm.conf, where it is, says what the options mean
#   queue.py --mem 4G         through Grid Engine; conf/queue.conf likewise
#   slurm.pl, queue.pl, "retry.pl slurm.pl", ...: Kaldi's own, with KALDI_ROOT set
export train_cmd="run.py"     # feature and embedding jobs
export cuda_cmd="run.py"      # training; through a queue: "slurm.py --gpu 1 --num-threads 4"
