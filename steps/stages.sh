# shellcheck shell=bash
# Sourced after parse_options.sh: which stages run, and what each needs.
#   reads   $stage and $stop_stage, the first and the last stage to run
#
#   if stage_on 4 "extract embeddings"; then
#     need 3 "$exp/final.pt"
#     ...
#   fi

export PYSPK_RECIPE_PID=$$     # a step ends when its recipe dies

stages_fail() {
  echo "${0##*/}: $1" >&2
  exit 1
}

for stages_name in stage stop_stage; do
  [[ ${!stages_name-} =~ ^-?[0-9]+$ ]] ||
    stages_fail "--${stages_name//_/-} must be a whole number, not \"${!stages_name-}\""
done
[ "${stage:?}" -le "${stop_stage:?}" ] ||
  stages_fail "--stage $stage comes after --stop-stage $stop_stage: there is no stage to run"

# stage_on N TITLE: whether stage N runs; says so on stderr.
stage_on() {
  this_stage=$1
  [ "$stage" -le "$1" ] && [ "$1" -le "$stop_stage" ] || return 1
  echo "${0##*/}: stage $1: $2" >&2
}

# need STAGE FILE...: ends the run where a FILE, which STAGE makes, is not there.
need() {
  local maker=$1 file
  shift
  for file in "$@"; do
    [ -e "$file" ] ||
      stages_fail "stage $this_stage needs $file, which stage $maker makes: run it with --stage $maker"
  done
}

# have_packages NAME...: whether these Python packages are installed; says so on stderr where they are not.
have_packages() {
  local missing
  missing=$(missing_packages "$@")
  [ -z "$missing" ] || { echo "${0##*/}: stage $this_stage leaves out what needs: $missing" >&2; return 1; }
}

# need_packages NAME...: ends the run where a Python package that the steps import is not installed.
need_packages() {
  local missing
  missing=$(missing_packages "$@") || stages_fail "python3 does not run; Python 3.11 or newer is needed"
  [ -z "$missing" ] || stages_fail "python3 ($(command -v python3)) lacks: $missing; in $PYSPK_ROOT,\
 make .venv/.installed installs what is needed"
}

missing_packages() {
  python3 -c 'import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if not u.find_spec(n)])' "$@"
}
