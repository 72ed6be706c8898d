# Sourced by run.sh and by every job of a queue: the whole tree's paths.
# shellcheck source=path.sh
. "$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/path.sh"
