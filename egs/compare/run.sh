#!/usr/bin/env bash
# Systems compared on equal terms: each line of grid.txt is trained with several seeds on the same chunks, and scored.
#
#   ./run.sh --corpus-dir DIR --dev-speakers FILE --eval-speakers FILE      # DIR/SPEAKER/**/*.{wav,flac,ogg,opus,mp3}
#   ./run.sh --stage 2 --train-data DIR --eval-data DIR --trials "DEV_LIST EVAL_LIST"      # Kaldi data you have
#   ./run.sh --help                                                         # all options
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

stage=0
stop_stage=4
seeds=3
grid=$here/grid.txt
train_config=$here/conf/resnet18p.toml
reference=aam.relu
corpus_dir=
dev_speakers=
eval_speakers=
work_dir=$here/work
train_data=
eval_data=
trials=
fbank_config=$here/../mini/conf/fbank.conf
vad_config=$here/../mini/conf/vad.conf
audio_opts="--resample true --channel mix"
subtract_mean=true
nj=$(nproc)
threads=1
device=auto
overwrite=false
# shellcheck source=egs/voxceleb/path.sh
. "$here/../voxceleb/path.sh"
# shellcheck source=egs/voxceleb/cmd.sh
. "$here/../voxceleb/cmd.sh"
help_message="usage: ${0##*/} [options]   (defaults in brackets)
  --stage N --stop-stage M   run stages N to M: 0 fetch the corpus, 1 data directories and trials, 2 features,
                             3 train and score every system, 4 table and plot   ($stage, $stop_stage)
  --grid FILE --seeds N      the systems, \"NAME SETTING=VALUE...\" a line, and how often each is trained   ($seeds)
  --train-config FILE.toml   the settings that all systems share
  --reference NAME           the system whose EER the others are divided by   ($reference)
  --corpus-dir DIR           your recordings, DIR/SPEAKER/**/*.{wav,flac,ogg,opus,mp3}; else the voices of egs/mini
  --dev-speakers FILE        speakers to choose settings by, one a line: their trials make a list of their own, dev
  --eval-speakers FILE       the speakers of DIR to evaluate on, one a line; else every third
  --train-data DIR --eval-data DIR --trials \"LIST...\"
                             Kaldi data directories and trial lists that exist already
  --work-dir DIR             where data/, exp/ and results/ are written
  --nj N --threads N         parallel jobs for features; threads of each system's training   ($nj, $threads)
  --train-cmd CMD --cuda-cmd CMD   runners of features and of systems: run.py, queue.pl, slurm.pl   ($train_cmd, $cuda_cmd)
  --device D                 auto, cpu, cuda, cuda:1   ($device)
  --fbank-config FILE --vad-config FILE --audio-opts \"--resample true ...\"
  --subtract-mean false      score embeddings as they are, without taking off the mean of the training set's
  --overwrite true           make anew what was made from other inputs or settings
  --config FILE              any of these, NAME=VALUE a line"
# shellcheck disable=SC2034    # read by parse_options.sh
options="stage stop_stage seeds grid train_config reference corpus_dir dev_speakers eval_speakers work_dir train_data
         eval_data trials fbank_config vad_config audio_opts subtract_mean nj threads device overwrite train_cmd cuda_cmd"
# shellcheck source=steps/parse_options.sh
. parse_options.sh
# shellcheck source=steps/stages.sh
. stages.sh
[ $# -eq 0 ] || stages_fail "unexpected argument \"$1\"; everything is given by --options (see --help)"

for given in corpus_dir dev_speakers eval_speakers train_data eval_data grid train_config fbank_config vad_config; do
  [ -z "${!given}" ] || [ -e "${!given}" ] || stages_fail "--${given//_/-} ${!given}: no such file or folder"
done
[[ $seeds =~ ^[1-9][0-9]*$ ]] || stages_fail "--seeds must be 1 or more, not \"$seeds\""
need_packages click kaldi_native_fbank matplotlib numpy scipy soundfile soxr torch tqdm

voices=${XDG_CACHE_HOME:-$HOME/.cache}/pyspk/debian-voices-1
data=$work_dir/data
train_data=${train_data:-$data/train}
eval_data=${eval_data:-$data/eval}
read -ra trials <<< "${trials:-${dev_speakers:+$data/trials/dev} $data/trials/eval}"
again=(); [ "$overwrite" = false ] || again=(--overwrite)
shared=(--work-dir "$work_dir" --train-data "$train_data" --eval-data "$eval_data" --overwrite "$overwrite")

cells=$work_dir/exp/cells

# A line for each system and seed, NAME/SEED seed=SEED SETTING=VALUE..., the first seed of all systems first.
write_cells() {
  local name settings seed twice
  mkdir -p "$work_dir/exp"
  for ((seed = 0; seed < seeds; seed++)); do
    while read -r name settings || [ -n "$name" ]; do      # the last line may lack its newline
      [[ $name && $name != \#* ]] || continue
      [[ $name =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ && " $settings" =~ ^(\ +[a-z_]+=[^\ ]+)*\ *$ ]] ||
        stages_fail "$grid: \"$name $settings\" is not NAME SETTING=VALUE..."
      echo "$name/$seed seed=$seed $settings"
    done < "$grid"
  done > "$cells.tmp"
  [ -s "$cells.tmp" ] || stages_fail "$grid: no system in it"
  twice=$(awk 'seen[$1]++ {print $1; exit}' "$cells.tmp")
  [ -z "$twice" ] || stages_fail "$grid: \"${twice%/*}\" comes twice; give each system a name of its own"
  awk -F / -v name="$reference" '$1 == name {found = 1} END {exit !found}' "$cells.tmp" || [ "$stop_stage" -lt 4 ] ||
    stages_fail "$grid: no system is called \"$reference\"; name the one to divide by with --reference"
  mv "$cells.tmp" "$cells"
}

# Stage 0: fetch the corpus, where none was given.
if stage_on 0 "fetch the corpus" && [ -z "$corpus_dir" ]; then
  fetch_debian_voices.py "${again[@]}" "$voices"
fi

# Stage 1: data directories and trials.
#   writes  data/{train,eval}/{wav.scp,utt2spk,...}, data/trials/{dev,eval}
if stage_on 1 "make data directories and trials"; then
  make_speaker_folders.py ${dev_speakers:+--dev-speakers "$dev_speakers"} \
    ${eval_speakers:+--eval-speakers "$eval_speakers"} "${again[@]}" "${corpus_dir:-$voices}" "$data"
fi

# Stage 2: features and voice activity.
#   writes  data/{train,eval}/{feats.scp,vad.scp,utt2num_frames}
if stage_on 2 "make features"; then
  "$here/../voxceleb/run.sh" --stage 2 --stop-stage 2 "${shared[@]}" --nj "$nj" --train-cmd "$train_cmd" \
    --fbank-config "$fbank_config" --vad-config "$vad_config" --audio-opts "$audio_opts"
fi

# Stage 3: train, extract and score every system with every seed, as a job array.
#   reads   grid.txt, conf/resnet18p.toml, data/
#   writes  exp/NAME/SEED/{final.pt,xvectors_*/,scores/}, exp/cells
if stage_on 3 "train and score every system"; then
  need 2 "$train_data/feats.scp" "$eval_data/feats.scp"
  need 1 "${trials[@]}"
  write_cells
  # shellcheck disable=SC2086    # a runner and its options are words
  $cuda_cmd --num-threads "$threads" JOB=1:"$(wc -l < "$cells")" "$work_dir/exp/log/cell.JOB.log" \
    "$here/cell.sh" "$cells" JOB "$threads" "${trials[*]}" "${shared[@]}" --train-config "$train_config" \
    --subtract-mean "$subtract_mean" --device "$device"
fi

# Stage 4: a table and a plot for each trial list.
#   reads   exp/NAME/SEED/scores/LIST.cosine
#   writes  results/LIST.{txt,png}
if stage_on 4 "compare"; then
  need 3 "$cells"
  for list in "${trials[@]}"; do
    name=$(basename "$list")
    scores=()
    while read -r cell _; do scores+=("${cell%/*}=$work_dir/exp/$cell/scores/$name.cosine"); done < "$cells"
    compare_systems.py --reference "$reference" --utt2spk "$eval_data/utt2spk" "${again[@]}" \
      --output "$work_dir/results/$name.txt" --plot "$work_dir/results/$name.png" "$list" "${scores[@]}"
  done
fi
