#!/usr/bin/env bash
# One system of the grid with one seed: trained, its embeddings extracted, scored on every trial list.
#   cell.sh CELLS NUMBER THREADS "LIST..." RUN_SH_OPTIONS...
#   reads   line NUMBER of CELLS: NAME/SEED SETTING=VALUE...
#   writes  exp/NAME/SEED/, as stages 3 to 5 of egs/voxceleb/run.sh do
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

read -ra cell < <(sed -n "${2}p" "$1")
export OMP_NUM_THREADS=$3      # cells run side by side
read -ra trials <<< "$4"
shift 4
stage=3
for list in "${trials[@]}"; do
  "$here/../voxceleb/run.sh" --stage $stage --stop-stage 5 --exp "${cell[0]}" --trials "$list" --nj 1 \
    --train-cmd run.py --cuda-cmd run.py --train-opts "$(printf ' --set %s' "${cell[@]:1}")" "$@"
  stage=5                      # another list needs scores alone
done
