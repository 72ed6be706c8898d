#!/usr/bin/env bash
# Speaker verification in stages, from audio to scores. Every stage goes on from what is there.
#
#   ./run.sh --data-root DIR                   # DIR/{voxceleb1,voxceleb2,musan,RIRS_NOISES}, as they unpack
#   ./run.sh --stage 3 --stop-stage 5 --train-data DIR --eval-data DIR --trials FILE    # on Kaldi data you have
#   ./run.sh --stage 3 --exp small --train-opts "--set depth=18 --set channels=16"      # another experiment
#   ./run.sh --stage 3 --exp resnet34p_lm --init-exp resnet34p --train-config conf/large_margin.toml     # fine-tuning
#   ./run.sh --help                                                                     # all options
set -euo pipefail
recipe=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=egs/voxceleb/options.sh
. "$recipe/options.sh"

# Stage 0: find or fetch the corpus.
if stage_on 0 "fetch the corpus"; then
  [ -n "$corpus" ] || stages_fail "$no_corpus"
  "$corpus" fetch "$corpus_dir" "${again[@]}"
fi

# Stage 1: data directories and trials.
#   writes  data/{train,eval}/{wav.scp,utt2spk,...}, data/trials/eval
if stage_on 1 "make data directories and trials"; then
  [ -n "$corpus" ] || stages_fail "$no_corpus"
  "$corpus" prepare "$corpus_dir" "$work_dir/data" "${data_root:+$trial_list}$eval_speakers" "${again[@]}"
fi

# Stage 2: features and voice activity; with --augment-config of augmented copies too, and all to train on.
#   reads   data/{train,eval}/{wav.scp,utt2spk}, conf/{fbank,vad}.conf, conf/augment.toml, data/{musan_*,rirs_*}
#   writes  data/{train,eval}/{feats.scp,vad.scp,utt2num_frames}, data/{train_copies,train_all}
if stage_on 2 "make features"; then
  need 1 "$train_data/wav.scp" "$eval_data/wav.scp"
  sets=("$train_data" "$eval_data")
  if [ -n "$copies" ]; then
    augment_data_dir.py --config "$augment_config" --root "$work_dir" --include-source false "${guard[@]}" \
      "$train_data" "$copies"
    sets+=("$copies")
  fi
  for data in "${sets[@]}"; do
    make_fbank.py --nj "$nj" --cmd "$train_cmd" --config "$fbank_config" "${audio_opts[@]}" "${guard[@]}" "$data"
    compute_vad.py --nj "$nj" --cmd "$train_cmd" --vad-config "$vad_config" --fbank-config "$fbank_config" \
      "${audio_opts[@]}" "${guard[@]}" "$data"
  done
  [ -z "$copies" ] || combine_data_dir.py "${again[@]}" "$train_all" "$train_data" "$copies"
fi

# Stage 3: train the speaker network.
#   reads   data/train/{feats.scp,utt2spk} (of train_all, where there are copies), vad.scp if it is there, conf/*.toml
#   writes  exp/NAME/{config.toml,spk2id,last.pt,final.pt,log/}
if stage_on 3 "train the speaker network"; then
  need 2 "$train_all/feats.scp"
  train.py --cmd "$cuda_cmd" --config "$train_config" "${train_opts[@]}" "${on_the_fly[@]}" --device "$device" \
    --num-gpus "$num_gpus" --num-nodes "$num_nodes" ${init_exp:+--init-model "$work_dir/exp/$init_exp"} \
    "${guard[@]}" "$train_all" "$exp"
fi

# Stage 4: extract the embeddings.
#   reads   exp/NAME/final.pt, data/{train,eval}/feats.scp
#   writes  exp/NAME/xvectors_{train,eval}/{xvector.scp,spk_xvector.scp,num_utts.ark,mean.vec}
if stage_on 4 "extract embeddings"; then
  need 3 "$exp/final.pt"
  need 2 "$train_data/feats.scp" "$eval_data/feats.scp"
  extract_xvectors.py --nj "$nj" --cmd "$train_cmd" --device "$device" "${guard[@]}" \
    "$exp" "$train_data" "$train_xvectors"
  extract_xvectors.py --nj "$nj" --cmd "$train_cmd" --device "$device" "${guard[@]}" \
    "$exp" "$eval_data" "$eval_xvectors"
fi

# Stage 5: cosine scores, adaptive s-norm with the training speakers as cohort, metrics.
#   reads   data/trials/eval, exp/NAME/xvectors_{train,eval}/
#   writes  exp/NAME/scores/eval.{cosine,asnorm,metrics}
if stage_on 5 "score and measure"; then
  need 1 "$trials"
  need 4 "$train_xvectors/xvector.scp" "$eval_xvectors/xvector.scp"
  score_cosine.py "${mean[@]}" "${guard[@]}" \
    "$trials" "$eval_xvectors/xvector.scp" "$eval_xvectors/xvector.scp" "$scores.cosine"
  score_asnorm.py --top-n "$top_n" --device "$device" "${mean[@]}" "${guard[@]}" \
    "$scores.cosine" "$eval_xvectors/xvector.scp" "$train_xvectors/spk_xvector.scp" "$scores.asnorm"
  compute_metrics.py --utt2spk "$eval_data/utt2spk" "${again[@]}" --output "$scores.metrics" \
    "$trials" "$scores.cosine" "$scores.asnorm"
fi

# Stage 6: calibration and fusion, trained on trials among the speakers that training held out.
#   reads   exp/NAME/spk2id, exp/NAME/xvectors_train/, exp/NAME/scores/eval.{cosine,asnorm}
#   writes  exp/NAME/calibration/{trials,cosine.json,fusion.json}, exp/NAME/scores/eval.{calibrated,calibrated.metrics}
if stage_on 6 "calibrate"; then
  need 5 "$scores.cosine" "$scores.asnorm"
  make_calibration_trials.py --cohort "$train_xvectors/spk_xvector.scp" "${again[@]}" \
    "$exp" "$train_data" "$calibration"
  score_cosine.py "${mean[@]}" "${guard[@]}" \
    "$calibration/trials" "$train_xvectors/xvector.scp" "$train_xvectors/xvector.scp" "$calibration/train.cosine"
  score_asnorm.py --top-n "$top_n" --device "$device" "${mean[@]}" "${guard[@]}" \
    "$calibration/train.cosine" "$train_xvectors/xvector.scp" "$calibration/cohort.scp" "$calibration/train.asnorm"
  calibrate.py --utt2spk "$calibration/utt2spk" "${again[@]}" \
    "$calibration/trials" "$calibration/train.cosine" "$calibration/cosine.json"      # for pyspk verify
  calibrate.py --utt2spk "$calibration/utt2spk" "${again[@]}" \
    "$calibration/trials" "$calibration/train.cosine" "$calibration/train.asnorm" "$calibration/fusion.json"
  apply_calibration.py "${again[@]}" \
    "$calibration/fusion.json" "$scores.cosine" "$scores.asnorm" "$scores.calibrated"
  compute_metrics.py --all --utt2spk "$eval_data/utt2spk" "${again[@]}" --output "$scores.calibrated.metrics" \
    "$trials" "$scores.calibrated"
fi

# Stage 7: the report page, and a model folder that moves to another machine whole.
#   reads   exp/NAME/{final.pt,config.toml,calibration/cosine.json,log/train.jsonl,scores/}, data/{train,eval}/
#   writes  exp/NAME/{report.html,model.json,mean.vec,calibration.json} and, where onnx and onnxruntime are installed, model.onnx
if stage_on 7 "report, and export the model"; then
  need 5 "$scores.cosine"
  need 6 "$calibration/cosine.json"
  make_report.py --trials "$trials" --data "$eval_data" "${trust[@]}" "$exp"
  if [ -e "$train_data/.made/feats.scp.json" ] || [ ${#export_opts[@]} -gt 0 ]; then
    export_model.py "${mean[@]}" --calibration "$calibration/cosine.json" "${export_opts[@]}" "${trust[@]}" \
      "$exp" "$train_data"
  else
    echo "${0##*/}: stage 7 leaves out model.json: how $train_data/feats.scp was made, only you can say (--export-opts)" >&2
  fi
  if have_packages onnx onnxruntime; then export_onnx.py "${again[@]}" "$exp" "$exp/model.onnx"; fi
fi
echo "everything lies in $work_dir/data and, network, embeddings, scores and logs, in $exp" >&2
