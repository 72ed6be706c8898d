# Sourced by run.sh and by every job of a queue: the whole tree's paths.
# shellcheck source=path.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../path.sh"
