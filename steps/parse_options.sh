# shellcheck shell=bash
# Sourced: reads the options in "$@" into shell variables and leaves the rest in "$@".
#
#   stage=0; nj=4; overwrite=false                       # the defaults
#   options="stage nj overwrite"                         # what may be set from outside; nothing else can
#   help_message="usage: ..."
#   . parse_options.sh
#
#   --some-name VALUE, --some_name VALUE, --some-name=VALUE   sets some_name
#   --config FILE      lines NAME=VALUE, not run but read; first, wherever it stands: the command line wins
#   --help             prints $help_message
#   --                 ends the options, as the first other word does
#
# A variable whose default is true or false takes only these. Anything else: one line on stderr, exit 1.

: "${options:?must list what may be set from outside}"

options_fail() {
  echo "${0##*/}: $1" >&2
  exit 1
}

options_known() {    # whether variable $1 is one of $options
  [[ $1 =~ ^[a-zA-Z_][a-zA-Z0-9_]*$ && " ${options//[$'\n\t']/ } " == *" $1 "* ]]
}

options_list() {     # the valid options as one types them
  local name
  for name in $options config help; do printf ' --%s' "${name//_/-}"; done
}

options_name() {     # the variable that option $1 sets, in $option_name; $2 says where it stands
  option_name=${1#--}
  option_name=${option_name//-/_}
  options_known "$option_name" || [ "$option_name" = config ] ||
    options_fail "$2unknown option $1; valid options:$(options_list)"
}

options_is_one() {   # whether the word $1 is one of the options (then it is no value of another)
  local name=${1#--}
  [ "$name" != "$1" ] && options_known "${name//-/_}"
}

options_set() {      # variable $1 becomes $2; $3 says where it stands
  case ${!1-}:$2 in
    true:true | true:false | false:true | false:false) ;;
    true:* | false:*) options_fail "$3--${1//_/-} takes true or false, not \"$2\"" ;;
  esac
  printf -v "$1" '%s' "$2"
}

options_read_config() {
  local file=$1 line number=0 value
  [ -f "$file" ] && [ -r "$file" ] || options_fail "--config $file: no such file"
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^[[:space:]]*([a-zA-Z_][a-zA-Z0-9_-]*)=(.*)$ ]] ||
      options_fail "$file:$number: not NAME=VALUE: $line"
    value=${BASH_REMATCH[2]}
    options_name "--${BASH_REMATCH[1]}" "$file:$number: "
    [ "$option_name" != config ] || options_fail "$file:$number: a config cannot name another one"
    if [[ $value =~ ^\"([^\"]*)\"[[:space:]]*(#.*)?$ || $value =~ ^\'([^\']*)\'[[:space:]]*(#.*)?$ ]]; then
      value=${BASH_REMATCH[1]}
    else
      value=${value%%[[:space:]]#*}
      value=${value%"${value##*[![:space:]]}"}
    fi
    options_set "$option_name" "$value" "$file:$number: "
  done < "$file"
}

options_given=()     # NAME VALUE NAME VALUE ... of the command line, set after every --config has been read
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) printf '%s\n' "${help_message-options:$(options_list)}"; exit 0 ;;
    --) shift; break ;;
    -[!0-9]*) ;;
    *) break ;;
  esac
  options_name "${1%%=*}" ""
  if [[ $1 == *=* ]]; then
    set -- "${1%%=*}" "${1#*=}" "${@:2}"
  elif [ $# -lt 2 ] || options_is_one "$2"; then
    options_fail "$1 needs a value"
  fi
  if [ "$option_name" = config ]; then
    options_read_config "$2"
  else
    options_given+=("$option_name" "$2")
  fi
  shift 2
done
for ((options_at = 0; options_at < ${#options_given[@]}; options_at += 2)); do
  options_set "${options_given[options_at]}" "${options_given[options_at + 1]}" ""
done
