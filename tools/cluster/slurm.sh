#!/usr/bin/env bash
# Trains on several machines of a Slurm cluster: sbatch tools/cluster/slurm.sh FLAGS OF cyclegan_tf.train
#
# One task a machine, with all the GPUs asked for on it. --checkpoints_dir and --dataroot have to be on a disk that all
# machines see, and --checkpoints_dir and --name on this command line. Submitting it again with --continue_train goes
# on; Slurm's own warning before the time is up does the same by itself, below.
#SBATCH --job-name=cyclegan
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --distribution=block
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

flags=(--strategy=multi_worker "$@")
# Where the run is, as its flags say here: those in a flag file are not looked at.
checkpoints=./checkpoints name=experiment_name
for flag in "$@"; do
  case $flag in
    --checkpoints_dir=*) checkpoints=${flag#*=} ;;
    --name=*) name=${flag#*=} ;;
  esac
done
# Slurm starts the same command again when it has taken the machines away, and when we ask for it. Before the first
# checkpoint there is nothing to go on from.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && compgen -G "$checkpoints/$name/*/checkpoint" > /dev/null; then
  flags+=(--continue_train)
fi

# --kill-on-bad-exit: where one worker fails the others end too. They stop by themselves at SIGTERM, all at one step.
status=0
srun --kill-on-bad-exit=1 --wait=120 "${PYTHON:-python3}" -m cyclegan_tf.train "${flags[@]}" || status=$?
# 143: stopped by the warning, with its state saved.
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
