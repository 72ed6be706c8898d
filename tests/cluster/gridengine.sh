#!/usr/bin/env bash
# A real Grid Engine of one node (sge_qmaster, sge_execd) on loopback, without systemd. It has a cell ("ci") and a spool
# of its own, made anew at each start, so that it disturbs no other cell.
#
#   gridengine.sh start      installs it where it is missing, starts it, waits until it is of use; does nothing when it is
#   gridengine.sh stop       its jobs first, then each daemon by the number that was remembered
#   gridengine.sh {stop,start,pause,resume}-controller      for the tests of a Grid Engine that is down, or slow
#
# Environment: SGE_TEST_SLOTS (nproc), SGE_TEST_MEM (of mem_free and ram_free, 80% of the memory), SGE_TEST_GPUS (1).
set -euo pipefail

cell=ci
root=/var/lib/gridengine
common=$root/$cell/common
spool=/var/spool/ci-gridengine
run=/run/ci-gridengine
logs=/var/log/ci-gridengine
user=sgeadmin
controller=sge_qmaster
host=$(hostname -s)
slots=${SGE_TEST_SLOTS:-$(nproc --all)}
mem=${SGE_TEST_MEM:-$(awk '/^MemTotal:/ {printf "%dM", $2 / 1024 * 0.8}' /proc/meminfo)}
gpus=${SGE_TEST_GPUS:-1}
export SGE_ROOT=$root SGE_CELL=$cell
# shellcheck source=tests/cluster/common.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

usable() { timeout 10 qhost -h "$host" -F arch 2> /dev/null | grep -q 'arch=lx'; }

start() {
  install -d -m 755 "$logs" "$run"
  if [ "$(dpkg-query -W -f='${db:Status-Status}' gridengine-master 2> /dev/null || true)" != installed ]; then
    for package in common client master exec; do      # no cell of their own
      echo "gridengine-$package shared/gridengineconfig boolean false"
    done | debconf-set-selections
  fi
  # Grid Engine wants a mailx, which wants a mail server: msmtp-mta is one that is no daemon
  install_packages gridengine-master gridengine-exec gridengine-client netbase -- msmtp-mta
  if alive sge_qmaster && alive sge_execd && usable; then
    say "is running"
    return
  fi
  stop
  names_lead_to_loopback
  make_cell
  make_loopback_only
  rm -f "$run"/*.proc "$run"/*.pid
  start_controller
  for _ in $(seq 100); do timeout 5 qconf -sh > /dev/null 2>&1 && break; sleep 0.1; done
  configure
  daemon sge_execd
  remember sge_execd "$run/execd.pid" "$spool/execd/${host%%.*}/execd.pid"
  for _ in $(seq 150); do
    if usable; then
      say "ready: $(qstat -help 2>&1 | sed -n 1p), host $host, $slots slots, $mem, queues all.q g.q, pe smp"
      return
    fi
    sleep 0.2
  done
  tail -n 5 "$spool"/qmaster/messages "$spool"/execd/*/messages >&2 || true
  die "the execution host did not report"
}

start_controller() {
  rm -f "$run/qmaster.pid" "$spool/qmaster/qmaster.pid"
  daemon sge_qmaster
  remember sge_qmaster "$run/qmaster.pid" "$spool/qmaster/qmaster.pid"
}

# Jobs inherit the environment of sge_execd: the caller's stays out of it. What lies in /usr/sbin are scripts, which
# would lose the preload.
daemon() {
  local preload=''
  [ ! -e "$run/loopback.so" ] || preload=$run/loopback.so
  cd /
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SGE_ROOT="$root" \
    SGE_CELL="$cell" SGE_ARCH="$("$root/util/arch")" SGE_MASTER_PIDFILE="$run/qmaster.pid" \
    SGE_EXECD_PIDFILE="$run/execd.pid" LD_PRELOAD="$preload" "/usr/lib/gridengine/$1" \
    < /dev/null >> "$logs/$1.start.log" 2>&1 || true
}

make_cell() {
  rm -rf "${root:?}/$cell" "$spool"
  install -d -m 755 -o $user -g $user "$root/$cell" "$common" \
    "$spool" "$spool/qmaster" "$spool/qmaster/job_scripts" "$spool/spooldb" "$spool/execd" "$run"
  cat > "$common/bootstrap" <<CONF
admin_user              $user
default_domain          none
ignore_fqdn             true
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         $spool/spooldb
binary_path             /usr/sbin
qmaster_spool_dir       $spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
CONF
  echo "$host" > "$common/act_qmaster"
  # 127.0.0.1 reads back as "localhost", which Grid Engine would not take for $host
  local aliases
  aliases=$(awk -v h="$host" '$1 ~ /^127\./ {sub(/#.*/, ""); for (i = 2; i <= NF; i++)
              if ($i != h && !seen[$i]++) printf " %s", $i}' /etc/hosts)
  case " $aliases " in *" localhost "*) ;; *) aliases="$aliases localhost" ;; esac
  echo "$host $aliases" > "$common/host_aliases"
  chown $user:$user "$common"/*
  # its commands use this cell when no SGE_* variable says otherwise
  [ ! -f /etc/default/gridengine ] || sed -i "s/^SGE_CELL=.*/SGE_CELL=$cell/" /etc/default/gridengine
  runuser -u $user -- /usr/share/gridengine/scripts/init_cluster "$root" "$cell" "$spool/spooldb" "$user" \
    > "$logs/init.log" 2>&1 || { tail -n 20 "$logs/init.log" >&2; die "init_cluster failed"; }
}

# The daemons have no setting for the address that they listen on.
make_loopback_only() {
  cat > "$run/loopback.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
__attribute__((constructor)) static void once(void) { unsetenv("LD_PRELOAD"); }
int bind(int fd, const struct sockaddr *a, socklen_t n) {
  static int (*next)(int, const struct sockaddr *, socklen_t);
  if (!next) next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
  if (a && a->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
    struct sockaddr_in b;
    memcpy(&b, a, sizeof b);
    if (b.sin_addr.s_addr == htonl(INADDR_ANY)) b.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(fd, (struct sockaddr *)&b, sizeof b);
  }
  return next(fd, a, n);
}
C
  rm -f "$run/loopback.so"
  { command -v cc > /dev/null && cc -shared -fPIC -O1 -o "$run/loopback.so" "$run/loopback.c" -ldl 2> "$logs/cc.log"; } ||
    say "no C compiler, so ports 6444 and 6445 listen on every interface"
}

q() { qconf "$@" >> "$logs/qconf.log" 2>&1 || { tail -n 5 "$logs/qconf.log" >&2; die "qconf $* failed"; }; }

# set_keys FILE KEY VALUE ...
set_keys() {
  local file=$1; shift
  while [ $# -gt 0 ]; do
    sed -i "/^$1[[:space:]]/d" "$file"
    echo "$1 $2" >> "$file"
    shift 2
  done
}

configure() {
  local t=$run/objects n=0 name
  rm -rf "$t"
  install -d -m 755 "$t"
  qconf -sconf global | grep -v '^#' > "$t/global"
  set_keys "$t/global" min_uid 0 min_gid 0 execd_spool_dir "$spool/execd" mailer /bin/true \
    administrator_mail none load_report_time 00:00:02 max_unheard 00:01:00
  q -Mconf "$t/global"

  qconf -ssconf > "$t/sched"
  set_keys "$t/sched" schedule_interval 0:0:1 flush_submit_sec 1 flush_finish_sec 1 \
    job_load_adjustments NONE load_adjustment_decay_time 0:0:0 schedd_job_info true
  q -Msconf "$t/sched"

  qconf -sc | grep -vE '^(#|mem_free |ram_free |gpu )' > "$t/complex"
  cat >> "$t/complex" <<CONF
mem_free            mf         MEMORY      <=    YES         YES        0        0
ram_free            ram_free   MEMORY      <=    YES         YES        0        0
gpu                 gpu        INT         <=    YES         YES        0        0
CONF
  q -Mc "$t/complex"

  q -as "$host"
  cat > "$t/exechost" <<CONF
hostname $host
load_scaling NONE
complex_values slots=$slots,mem_free=$mem,ram_free=$mem,gpu=$gpus
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
CONF
  q -Ae "$t/exechost"
  printf 'group_name @allhosts\nhostlist %s\n' "$host" > "$t/hgrp"
  q -Ahgrp "$t/hgrp"

  cat > "$t/pe" <<CONF
pe_name            smp
slots              9999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    \$pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
CONF
  q -Ap "$t/pe"

  for name in all.q g.q; do
    qconf -sq > "$t/$name"
    # no load threshold: a busy machine must still take jobs
    set_keys "$t/$name" qname $name hostlist @allhosts seq_no $n slots "$slots" pe_list smp \
      load_thresholds NONE shell /bin/bash rerun FALSE
    q -Aq "$t/$name"
    n=$((n + 10))
  done
}

stop() {
  if alive sge_qmaster && alive sge_execd; then
    kill -CONT "$(pid_of sge_qmaster)"
    if [ -n "$(timeout 10 qstat -u '*' 2> /dev/null)" ]; then
      timeout 10 qdel -u '*' > /dev/null 2>&1 || true
      for _ in $(seq 75); do
        [ -n "$(timeout 10 qstat -u '*' 2> /dev/null)" ] || break
        sleep 0.2
      done
    fi
  fi
  for daemon in sge_execd sge_qmaster; do end "$daemon"; done
}

dispatch "$@"
