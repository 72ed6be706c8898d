#!/usr/bin/env bash
# The stages of egs/voxceleb/run.sh on a small corpus: recorded voices from the Debian archive, or your own.
#
#   ./run.sh                                       # fetches the voices, trains, scores: about ten minutes
#   ./run.sh --corpus-dir DIR                      # your recordings: DIR/SPEAKER/**/*.{wav,flac,ogg,opus,mp3}
#   ./run.sh --corpus-dir DIR --eval-speakers FILE --work-dir DIR
#   ./run.sh --help                                # all options
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

# Each corpus has a work folder of its own, so that two never mix.
corpus_dir=
for ((i = 1; i <= $#; i++)); do
  case ${!i} in
    --corpus-dir | --corpus_dir) j=$((i + 1)) corpus_dir=${!j-} ;;
    --corpus-dir=* | --corpus_dir=*) corpus_dir=${!i#*=} ;;
  esac
done
if [ -z "$corpus_dir" ]; then
  corpus_dir=${XDG_CACHE_HOME:-$HOME/.cache}/pyspk/debian-voices-1      # another number when its rules change
  export PYSPK_VOICES=$corpus_dir
  work=debian-voices
else
  work=$(basename "$corpus_dir")-$(realpath -m "$corpus_dir" | sha1sum | cut -c 1-6)
fi
exec "$here/../voxceleb/run.sh" --config "$here/run.conf" --work-dir "$here/work/$work" --corpus "$here/corpus.sh" \
  --corpus-dir "$corpus_dir" --fbank-config "$here/conf/fbank.conf" --vad-config "$here/conf/vad.conf" \
  --train-config "$here/conf/resnet18p.toml" "$@"
