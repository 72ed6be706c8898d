#!/usr/bin/env bash
# What stages 0 and 1 do for folders of recordings, one a speaker.
#   corpus.sh fetch CORPUS_DIR [--overwrite]
#   corpus.sh prepare CORPUS_DIR DATA_DIR EVAL_SPEAKERS [--overwrite]
set -euo pipefail
voices=${XDG_CACHE_HOME:-$HOME/.cache}/pyspk/debian-voices
case $1 in
  fetch)
    if [ "$2" = "$voices" ]; then
      exec fetch_debian_voices.py "${@:3}" "$2"
    elif [ ! -d "$2" ]; then
      echo "${0##*/}: --corpus-dir $2: no such folder" >&2
      exit 1
    fi ;;
  prepare)
    exec make_speaker_folders.py ${4:+--eval-speakers "$4"} "${@:5}" "$2" "$3" ;;
esac
