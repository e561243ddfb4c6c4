#!/usr/bin/env bash
# A Slurm of two nodes on loopback, for tests. Needs root and Debian's packages, which it installs if it may.
#   slurm_up.sh up FOLDER      configure, start, wait until the nodes take work; all its files are in FOLDER
#   slurm_up.sh down FOLDER    stop what `up` started, by its own pid files
#   slurm_up.sh status FOLDER  daemons and nodes
# Both nodes are this machine. Slurm believes the sizes that it is told here: jobs may ask for more than there is.
set -euo pipefail
D=${2:?usage: slurm_up.sh up|down|status FOLDER}
NODES=(node1 node2)
CPUS=8      # a node
MEM=64000   # a node, MB
GPUS=2      # a node: made-up ones
CTLD_PORT=${SLURM_LOCAL_PORT:-26817}
MARK="# written by slurm_up.sh (test cluster, loopback only)"
export SLURM_CONF="$D/slurm.conf"   # our own scancel, sinfo and scontrol never talk to another cluster
HOST=$(hostname -s)

alive() { # pid file, name: whether that process is alive and runs that program
  local p; p=$(cat "$1" 2>/dev/null) || return 1
  [ -n "$p" ] && [ -d "/proc/$p" ] && grep -q "$2" "/proc/$p/comm" 2>/dev/null
}
stop_one() { # pid file, name
  alive "$1" "$2" || { rm -f "$1"; return 0; }
  local p; p=$(cat "$1"); kill "$p"
  for _ in $(seq 100); do [ -d "/proc/$p" ] || { rm -f "$1"; return 0; }; sleep 0.1; done
  kill -9 "$p" 2>/dev/null || true; rm -f "$1"
}
down() {
  if alive "$D/slurmctld.pid" slurmctld; then
    scancel --full --user="$(id -un)" >/dev/null 2>&1 || true
    for _ in $(seq 50); do [ -n "$(squeue -h 2>/dev/null)" ] || break; sleep 0.2; done
  fi
  for n in "${NODES[@]}"; do stop_one "$D/slurmd.$n.pid" slurmd; done
  stop_one "$D/slurmctld.pid" slurmctld
  stop_one "$D/munged.pid" munged
  for f in slurm.conf gres.conf; do   # only links that point into our folder
    [ -L "/etc/slurm/$f" ] && [ "$(readlink "/etc/slurm/$f")" = "$D/$f" ] && rm -f "/etc/slurm/$f"
  done
  return 0
}
status() {
  for f in "$D"/*.pid; do [ -e "$f" ] && echo "$(basename "$f" .pid) $(cat "$f")"; done
  sinfo -N -o '%N %T %c %m %G' 2>&1 || true
}
case "$1" in down) down; exit;; status) status; exit;; up) ;; *) echo "unknown command $1" >&2; exit 2;; esac

# 1. Packages, and nobody else's Slurm.
missing=0; for c in slurmctld slurmd munged srun; do command -v "$c" >/dev/null || missing=1; done
if [ "$missing" = 1 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null
fi
mkdir -p /etc/slurm
if [ -e /etc/slurm/slurm.conf ]; then
  echo "slurm_up.sh: /etc/slurm/slurm.conf is there: another Slurm's client is left alone" >&2; exit 3
fi

# 2. Folders, munge's key, configuration.
mkdir -p "$D"/{state,log,munge,dev}; chmod 755 "$D" "$D/munge"
(umask 077; head -c 1024 /dev/urandom > "$D/munge/munge.key")
cat > "$D/slurm.conf" <<C
$MARK
ClusterName=local
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$CTLD_PORT
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$D/munge/munge.socket
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool.%n
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd.%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd.%n.log
SlurmdParameters=config_overrides
# no cgroups, no task pinning
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=200000
# no slurmdbd: finished jobs stay visible to 'squeue --states=all' for MinJobAge seconds
AccountingStorageType=accounting_storage/none
MinJobAge=3600
# time limits: SIGTERM at the limit, SIGKILL KillWait seconds later
KillWait=20
OverTimeLimit=0
ReturnToService=2
SlurmdTimeout=60
SlurmctldTimeout=60
JobRequeue=0
C
: > "$D/gres.conf"; echo 'AutoDetect=off' >> "$D/gres.conf"
# A pretend GPU needs a file: a count alone is refused.
for ((i = 0; i < GPUS; i++)); do [ -e "$D/dev/gpu$i" ] || mknod "$D/dev/gpu$i" c 1 3 2>/dev/null || : > "$D/dev/gpu$i"; done
port=$CTLD_PORT
for n in "${NODES[@]}"; do
  port=$((port + 1)); mkdir -p "$D/spool.$n"
  echo "NodeName=$n NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$port CPUs=$CPUS RealMemory=$MEM Gres=gpu:$GPUS State=UNKNOWN" >> "$D/slurm.conf"
  echo "NodeName=$n Name=gpu File=$D/dev/gpu[0-$((GPUS - 1))]" >> "$D/gres.conf"
done
list=$(IFS=,; echo "${NODES[*]}")
echo "PartitionName=main Nodes=$list Default=YES MaxTime=INFINITE DefaultTime=00:30:00 State=UP OverSubscribe=NO" >> "$D/slurm.conf"
# The job-step plugin drops SLURM_CONF from the inner srun: the default path must work.
for f in slurm.conf gres.conf; do ln -sfn "$D/$f" "/etc/slurm/$f"; done

# 3. Daemons: each goes to the background and writes its pid file.
munged --force --key-file="$D/munge/munge.key" --socket="$D/munge/munge.socket" \
  --pid-file="$D/munged.pid" --log-file="$D/log/munged.log" --seed-file="$D/munge/munge.seed"
slurmctld -f "$D/slurm.conf"
for _ in $(seq 100); do scontrol ping 2>/dev/null | grep -q 'is UP' && break; sleep 0.1; done
for n in "${NODES[@]}"; do slurmd -f "$D/slurm.conf" -N "$n"; done

# 4. Until all nodes take work.
for _ in $(seq 150); do
  [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | wc -l)" = "${#NODES[@]}" ] && break
  sleep 0.2
done
status
[ "$(sinfo -h -N -t idle -o %N | wc -l)" = "${#NODES[@]}" ] || { echo "slurm_up.sh: nodes not ready; logs in $D/log" >&2; exit 1; }
