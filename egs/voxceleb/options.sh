# shellcheck shell=bash disable=SC2034,SC2154      # run.sh uses what is unused here
# Sourced by run.sh: its options with their defaults, --help, and the names that follow from them.
#   reads   $recipe, the folder of run.sh

stage=0
stop_stage=7
nj=$(nproc)
exp=resnet34p
work_dir=$recipe
data_root=
trial_list=veri_test2.txt
corpus=
corpus_dir=
eval_speakers=
train_data=
eval_data=
trials=
fbank_config=$recipe/conf/fbank.conf
vad_config=$recipe/conf/vad.conf
audio_opts=
export_opts=
augment_config=
online=
train_config=$recipe/conf/resnet34p.toml
train_opts=
init_exp=
num_gpus=1
num_nodes=1
subtract_mean=true
top_n=300
device=auto
overwrite=false
force=false
no_pipes=false
# shellcheck source=egs/voxceleb/path.sh
. "$recipe/path.sh"
# shellcheck source=egs/voxceleb/cmd.sh
. "$recipe/cmd.sh"
help_message="usage: ${0##*/} [options]   (defaults in brackets)
  --stage N --stop-stage M   run stages N to M: 0 fetch the corpus, 1 data directories and trials, 2 features,
                             3 train, 4 embeddings, 5 scores and metrics, 6 calibration, 7 report and model
                             ($stage, $stop_stage)
  --data-root DIR            voxceleb1/, voxceleb2/, musan/ and RIRS_NOISES/ as they unpack
  --trial-list NAME          of voxceleb1/: veri_test2.txt (O), list_test_all2.txt (E), list_test_hard2.txt (H)   ($trial_list)
  --train-data DIR --eval-data DIR --trials FILE
                             Kaldi data directories and a trial list that exist already
  --corpus-dir DIR           your own recordings, DIR/SPEAKER/**/*.{wav,flac,ogg,opus,mp3} (egs/mini/run.sh)
  --eval-speakers FILE       the speakers of DIR to evaluate on, one a line; else every third
  --work-dir DIR             where data/ and exp/ are written
  --exp NAME                 name of the experiment, exp/NAME
  --train-config FILE.toml --train-opts \"--set key=value ...\"
  --init-exp NAME            begin with the network and the speakers' weights of exp/NAME (conf/large_margin.toml)
  --num-gpus N --num-nodes M share each batch among N GPUs of each of M machines, which --cuda-cmd finds   ($num_gpus, $num_nodes)
  --augment-config FILE      train on augmented copies too; with --data-root conf/augment.toml, \"none\" for none
  --online workers|device    no copies: features, augmented anew for each chunk, are computed while training, by the
                             CPU or a batch at a time on the GPU
  --fbank-config FILE --vad-config FILE --audio-opts \"--resample true ...\"
  --nj N --train-cmd CMD --cuda-cmd CMD
                             parallel jobs and their runner: run.py, slurm.py, queue.py, or Kaldi's   ($nj, $train_cmd)
  --device D                 auto, cpu, cuda, cuda:1   ($device)
  --subtract-mean false      score embeddings as they are, without taking off the mean of the training set's
  --top-n N                  cohort speakers of adaptive s-norm   ($top_n)
  --export-opts \"--fbank-config FILE --vad-config FILE\"
                             in stage 7, how features were made that did not come from stage 2
  --overwrite true           make anew what was made from other inputs or settings
  --force true               go on although the disk seems too small
  --no-pipes true            run no commands that stand in wav.scp and the like: refuse them (docs/trust.md)
  --config FILE              any of these, NAME=VALUE a line"
options="stage stop_stage nj exp work_dir data_root trial_list corpus corpus_dir eval_speakers train_data eval_data
         trials fbank_config vad_config audio_opts augment_config online train_config train_opts init_exp num_gpus
         num_nodes subtract_mean top_n device export_opts overwrite force no_pipes train_cmd cuda_cmd"
# shellcheck source=steps/parse_options.sh
. parse_options.sh
# shellcheck source=steps/stages.sh
. stages.sh
[ $# -eq 0 ] || stages_fail "unexpected argument \"$1\"; everything is given by --options (see --help)"

if [ -n "$data_root" ]; then
  corpus=$recipe/corpus.sh corpus_dir=$data_root eval_speakers=   # the trial list says who is evaluated
  augment_config=${augment_config:-$recipe/conf/augment.toml}
fi
[ "$augment_config" != none ] || augment_config=
for given in data_root augment_config train_data eval_data trials eval_speakers fbank_config vad_config train_config; do
  [ -z "${!given}" ] || [ -e "${!given}" ] || stages_fail "--${given//_/-} ${!given}: no such file or folder"
done
[[ $online =~ ^(workers|device|)$ ]] || stages_fail "--online must be workers or device, not \"$online\""
need_packages click kaldi_native_fbank numpy pyarrow scipy soundfile soxr torch tqdm

read -ra audio_opts <<< "${audio_opts//$'\n'/ }"
exp=$work_dir/exp/$exp
train_data=${train_data:-$work_dir/data/train}
eval_data=${eval_data:-$work_dir/data/eval}
trials=${trials:-$work_dir/data/trials/eval}
train_all=$train_data copies='' on_the_fly=()
if [ -n "$online" ]; then
  on_the_fly=(--fbank-config "$fbank_config" ${augment_config:+--augment-config "$augment_config"}
              --augment-root "$work_dir" --frontend "$online" "${audio_opts[@]}")
elif [ -n "$augment_config" ]; then
  copies=$work_dir/data/$(basename "$train_data")_copies train_all=$work_dir/data/$(basename "$train_data")_all
fi
train_xvectors=$exp/xvectors_$(basename "$train_data")
eval_xvectors=$exp/xvectors_$(basename "$eval_data")
scores=$exp/scores/$(basename "$trials")
calibration=$exp/calibration
mean=(); [ "$subtract_mean" = false ] || mean=(--subtract-mean "$train_xvectors/mean.vec")
again=(); [ "$overwrite" = false ] || again=(--overwrite)
trust=("${again[@]}"); [ "$no_pipes" = false ] || trust+=(--no-pipes)
guard=("${trust[@]}"); [ "$force" = false ] || guard+=(--force)
read -ra train_opts <<< "${train_opts//$'\n'/ }"
read -ra export_opts <<< "${export_opts//$'\n'/ }"
no_corpus="this recipe needs a corpus: give it VoxCeleb (--data-root DIR), data directories (--stage 2 --train-data DIR \
--eval-data DIR --trials FILE), or recordings to egs/mini/run.sh --corpus-dir DIR"
[ "$train_xvectors" != "$eval_xvectors" ] ||
  stages_fail "--train-data and --eval-data are both called $(basename "$train_data"); name one of them otherwise"
