#!/usr/bin/env bash
# What stages 0 and 1 do for VoxCeleb: VoxCeleb2 dev to train on, trials of VoxCeleb1, MUSAN and RIRS_NOISES to augment.
#   corpus.sh fetch DATA_ROOT [--overwrite]
#   corpus.sh prepare DATA_ROOT DATA_DIR TRIAL_LIST [--overwrite]
# The corpora cannot be fetched without an account: they lie in DATA_ROOT/{voxceleb1,voxceleb2,musan,RIRS_NOISES}.
set -euo pipefail
root=$2

have() {     # have CORPUS...: ends with the names of those that are not in DATA_ROOT
  local corpus missing=
  for corpus; do [ -d "$root/$corpus" ] || missing+=" $corpus"; done
  [ -z "$missing" ] || { echo "${0##*/}: $root lacks:$missing; unpack them there" >&2; exit 1; }
}

case $1 in
  fetch) have voxceleb1 voxceleb2 musan RIRS_NOISES ;;
  prepare)
    have voxceleb1 voxceleb2 musan RIRS_NOISES
    data=$3 list=$4 again=("${@:5}")
    case $list in veri_test*) part="test" ;; *) part="all" ;; esac      # E and H try the speakers of VoxCeleb1 dev as well
    make_voxceleb2.py "${again[@]}" "$root/voxceleb2" dev "$data/train"
    make_voxceleb1.py "${again[@]}" "$root/voxceleb1" $part "$data/eval"
    make_voxceleb_trials.py "${again[@]}" --train-data "$data/train" "$root/voxceleb1/$list" "$data/eval" "$data/trials/eval"
    make_musan.py "${again[@]}" "$root/musan" "$data"
    make_rirs.py "${again[@]}" "$root/RIRS_NOISES" "$data" ;;
esac
