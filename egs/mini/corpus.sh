#!/usr/bin/env bash
# What stages 0 and 1 do for folders of recordings, one a speaker.
#   corpus.sh fetch CORPUS_DIR [--overwrite]
#   PYSPK_VOICES   the folder of the embedded corpus, when that is meant
#   corpus.sh prepare CORPUS_DIR DATA_DIR EVAL_SPEAKERS [--overwrite]
set -euo pipefail
case $1 in
  fetch)
    if [ "$2" = "${PYSPK_VOICES:-}" ]; then
      exec fetch_debian_voices.py "${@:3}" "$2"
    elif [ ! -d "$2" ]; then
      echo "${0##*/}: --corpus-dir $2: no such folder" >&2
      exit 1
    fi ;;
  prepare)
    [ -d "$2" ] || { echo "${0##*/}: stage 1 needs the corpus $2, which stage 0 fetches: run it with --stage 0" >&2; exit 1; }
    exec make_speaker_folders.py ${4:+--eval-speakers "$4"} "${@:5}" "$2" "$3" ;;
esac
