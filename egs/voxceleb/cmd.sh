# Sourced by run.sh: how jobs run. --train-cmd and --cuda-cmd on the command line win.
#   run.py                    on this machine
#   queue.pl --mem 4G         Grid Engine, by Kaldi's script (set KALDI_ROOT)
#   slurm.pl --mem 4G         Slurm, likewise
export train_cmd="run.py"     # feature and embedding jobs
export cuda_cmd="run.py"      # training; through a queue: "slurm.pl --gpu 1"
