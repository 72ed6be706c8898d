#!/usr/bin/env bash
# A real Slurm of one node (munged, slurmctld, slurmd) on loopback, without systemd, cgroups or a database.
#
#   slurm.sh start      installs it where it is missing, starts it, waits until it is of use; does nothing when it is
#   slurm.sh stop       its jobs first, then each daemon by the number that was remembered
#   slurm.sh {stop,start,pause,resume}-controller      for the tests of a Slurm that is down, or slow
#
# Environment: SLURM_TEST_CPUS (nproc), SLURM_TEST_MEM_MB (80% of the memory), SLURM_TEST_GPUS (1, stand-ins),
# SLURM_TEST_MIN_JOB_AGE (5: seconds for which squeue shows a job that has ended).
set -euo pipefail

state=/var/lib/ci-slurm
run=/run/ci-slurm
logs=$state/log
conf=/etc/slurm/slurm.conf
marker='# written by the tests of a cluster'
controller=slurmctld
host=$(hostname -s)
cpus=${SLURM_TEST_CPUS:-$(nproc --all)}
mem_mb=${SLURM_TEST_MEM_MB:-$(awk '/^MemTotal:/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)}
gpus=${SLURM_TEST_GPUS:-1}
clean=(env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8)
# shellcheck source=tests/cluster/common.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/common.sh"

usable() { timeout 5 sinfo -h -N -o %T 2> /dev/null | grep -qE '^(idle|mixed|allocated)$'; }

start() {
  install -d -m 755 "$state" "$logs" "$state/ctld" "$state/d" "$run" /etc/slurm
  install_packages munge slurmctld slurmd slurm-client
  if alive munged && alive slurmctld && alive slurmd && usable; then
    say "is running"
    return
  fi
  stop
  configure
  rm -f "$run"/*.proc "$run"/*.pid "$run"/munge/munged.pid
  cd /
  runuser -u munge -- /usr/sbin/munged --force --pid-file="$run/munge/munged.pid" \
    --log-file=/var/log/munge/munged.log < /dev/null >> "$logs/munged.start.log" 2>&1 ||
    die "munged failed: $(tail -n 3 "$logs/munged.start.log")"
  remember munged "$run/munge/munged.pid"
  start_controller -c      # none of the jobs of last time
  "${clean[@]}" /usr/sbin/slurmd -N "$host" < /dev/null >> "$logs/slurmd.start.log" 2>&1
  remember slurmd "$run/slurmd.pid"
  for _ in $(seq 150); do
    if usable; then
      say "ready: $(sinfo -V), node $host, $cpus CPUs, $mem_mb MB, partitions shared, gpu"
      return
    fi
    sleep 0.2
  done
  sinfo -N -l >&2 || true
  tail -n 5 "$logs"/slurmctld.log "$logs"/slurmd.log >&2 || true
  die "the node did not become idle"
}

start_controller() {
  rm -f "$run/slurmctld.pid"
  "${clean[@]}" /usr/sbin/slurmctld "$@" < /dev/null >> "$logs/slurmctld.start.log" 2>&1
  remember slurmctld "$run/slurmctld.pid"
}

configure() {
  if [ -e "$conf" ] && ! grep -qE "^$marker|^# managed by start-slurm.sh" "$conf"; then
    die "$conf is there and not of these tests; it stays as it is"
  fi
  install -d -m 755 -o munge -g munge "$run/munge" /run/munge
  names_lead_to_loopback
  [ -s /etc/munge/munge.key ] || runuser -u munge -- mungekey -c
  # A job that asks for no memory would get all of the node without DefMemPerCPU.
  local def_mem=$((mem_mb / cpus / 2)); [ "$def_mem" -le 1024 ] || def_mem=1024
  cat > "$conf" <<CONF
$marker
ClusterName=ci
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=6817
SlurmdPort=6818
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd.pid
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldLogFile=$logs/slurmctld.log
SlurmdLogFile=$logs/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=$def_mem
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=5
# without cgroups a job over its memory is found by looking
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
ReturnToService=2
MinJobAge=${SLURM_TEST_MIN_JOB_AGE:-5}
KillWait=3
MaxArraySize=10001
SlurmctldTimeout=30
SlurmdTimeout=60
InactiveLimit=0
CONF
  local gres=''
  rm -f /etc/slurm/gres.conf
  if [ "$gpus" -gt 0 ]; then
    # stand-ins (Slurm insists on devices), so that CUDA_VISIBLE_DEVICES is handed out as on a real node
    install -d -m 755 "$state/dev"
    for ((i = 0; i < gpus; i++)); do
      [ -c "$state/dev/gpu$i" ] || mknod "$state/dev/gpu$i" c 1 3
    done
    printf '%s\nNodeName=%s Name=gpu File=%s/dev/gpu[0-%d]\n' "$marker" "$host" "$state" $((gpus - 1)) \
      > /etc/slurm/gres.conf
    echo "GresTypes=gpu" >> "$conf"
    gres=" Gres=gpu:$gpus"
  fi
  cat >> "$conf" <<CONF
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$mem_mb$gres State=UNKNOWN
PartitionName=shared Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host Default=NO MaxTime=INFINITE State=UP
CONF
}

stop() {
  local jobs
  if alive slurmctld && alive munged; then
    kill -CONT "$(pid_of slurmctld)"
    mapfile -t jobs < <(timeout 5 squeue -h -o %A 2> /dev/null | sort -u)
    if [ ${#jobs[@]} -gt 0 ]; then
      timeout 10 scancel "${jobs[@]}" 2> /dev/null || true
      for _ in $(seq 75); do
        [ -n "$(timeout 5 squeue -h 2> /dev/null)" ] || break
        sleep 0.2
      done
    fi
  fi
  for daemon in slurmd slurmctld munged; do end "$daemon"; done
}

dispatch "$@"
