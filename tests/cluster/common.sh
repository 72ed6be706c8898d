# shellcheck shell=bash
# Sourced by slurm.sh and gridengine.sh, which set these: packages, names and daemons on one machine.
: "${run:?}" "${logs:?}" "${host:?}" "${controller:?}"
me=$(basename "$0")

say() { echo "$me: $*"; }
die() { echo "$me: $*" >&2; exit 1; }

# A daemon is remembered as "PID STARTTIME" and lives while both still agree; a zombie that nobody reaped is gone.
start_of() { awk '{sub(/^.*\) /, ""); if ($1 != "Z") print $20}' "/proc/$1/stat" 2> /dev/null || true; }

alive() {
  local pid start
  [ -s "$run/$1.proc" ] && read -r pid start < "$run/$1.proc" && [ -n "$start" ] && [ "$(start_of "$pid")" = "$start" ]
}

# remember NAME PIDFILE...: wait until the daemon has written one of these files
remember() {
  local name=$1 file pid; shift
  for _ in $(seq 150); do
    for file; do
      pid=$(tr -dc 0-9 2> /dev/null < "$file" || true)
      if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2> /dev/null)" = "$name" ] && [ -n "$(start_of "$pid")" ]; then
        echo "$pid $(start_of "$pid")" > "$run/$name.proc"
        return
      fi
    done
    sleep 0.1
  done
  die "$name did not start; see $logs"
}

pid_of() { cut -d' ' -f1 "$run/$1.proc"; }

end() {
  alive "$1" || { rm -f "$run/$1.proc"; return 0; }
  local pid; pid=$(pid_of "$1")
  kill -CONT "$pid"
  kill -TERM "$pid"
  for _ in $(seq 150); do alive "$1" || break; sleep 0.1; done
  if alive "$1"; then kill -KILL "$pid"; sleep 0.3; fi
  rm -f "$run/$1.proc"
  say "ended $1 ($pid)"
}

# install NEEDED... [-- MORE...]: Debian packages, when one of the needed is not there; none starts anything by itself
install_packages() {
  local missing=0 package policy='' apt
  for package; do
    [ "$package" != -- ] || break
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null || true)" = installed ] || missing=1
  done
  [ "$missing" = 1 ] || return 0
  say "installing ${*/--/}"
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    policy=1
  fi
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold
       install --no-install-recommends)
  local words=(); for package; do [ "$package" = -- ] || words+=("$package"); done
  "${apt[@]}" "${words[@]}" < /dev/null > "$logs/apt.log" 2>&1 ||
    { apt-get -q update >> "$logs/apt.log" 2>&1 && "${apt[@]}" "${words[@]}" < /dev/null >> "$logs/apt.log" 2>&1; } ||
    { tail -n 20 "$logs/apt.log" >&2; die "apt-get install failed"; }
  [ -z "$policy" ] || rm -f /usr/sbin/policy-rc.d
}

leads_to_loopback() { [[ $(getent ahostsv4 "$1" | awk 'NR == 1 {print $1}') == 127.* ]]; }

# This host's names must lead to loopback: the daemons listen nowhere else.
names_lead_to_loopback() {
  local name
  for name in $(printf '%s\n' "$(hostname)" "$host" | sort -u); do
    leads_to_loopback "$name" && continue
    { echo "127.0.0.1 $name # $me"; cat /etc/hosts; } > "$run/hosts"
    cat "$run/hosts" > /etc/hosts      # in place: it may be a mount, which cannot be renamed over
    leads_to_loopback "$name" || die "$name does not lead to loopback"
  done
}

# dispatch COMMAND: start, stop, or the same for the daemon that is asked (controller) alone, as if it were down or slow
dispatch() {
  [ "$(id -u)" -eq 0 ] || die "must run as root"
  case ${1-} in
    start) start ;;
    stop) stop ;;
    stop-controller) end "$controller" ;;
    start-controller) start_controller ;;
    pause-controller) kill -STOP "$(pid_of "$controller")" ;;
    resume-controller) kill -CONT "$(pid_of "$controller")" ;;
    *) die "usage: $me start | stop | {stop,start,pause,resume}-controller" ;;
  esac
}
