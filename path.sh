# Sourced, never run: puts the steps, the library and the virtual environment in reach.
#   PYSPK_ROOT   the top of this tree
#   KALDI_ROOT   optional: when set, Kaldi's own utils/ (run.pl, queue.pl, slurm.pl) are on PATH too
PYSPK_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export PYSPK_ROOT
if [ -n "${KALDI_ROOT:-}" ]; then
  PATH="$KALDI_ROOT/egs/wsj/s5/utils:$KALDI_ROOT/egs/wsj/s5/utils/parallel:$PATH"
fi
if [ -x "$PYSPK_ROOT/.venv/bin/python3" ]; then
  PATH="$PYSPK_ROOT/.venv/bin:$PATH"
fi
export PATH="$PYSPK_ROOT/steps:$PYSPK_ROOT/steps/cluster:$PYSPK_ROOT/local:$PATH"
export PYTHONPATH="$PYSPK_ROOT${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C
