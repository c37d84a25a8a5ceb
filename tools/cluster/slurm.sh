#!/usr/bin/env bash
# Trains on several machines of a Slurm cluster: sbatch tools/cluster/slurm.sh FLAGS OF cyclegan_tf.train
#
# One task a machine, with all the GPUs asked for on it. --checkpoints_dir and --dataroot have to be on a disk that all
# machines see. Submitting it again with --continue_train goes on; Slurm's own warning before the time is up does the
# same by itself, below.
#
# Where the first machine failed, its lock on the run may be left: nobody can tell from elsewhere whether its process
# still writes. The job that Slurm starts anew then names the lock's file and ends; delete the file once that machine is
# surely off or was started anew, and submit again with --continue_train.
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

python=${PYTHON:-python3} flags=(--strategy=multi_worker "$@")
# Where the run is, as the program itself reads its flags, those of flag files too; wrong ones end the job here.
run=$("$python" -c '
import os, sys
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings.run_flags import parse_training
def show(settings):
    print(os.path.join(settings[0].checkpoints_dir, settings[0].run_name))
    return 0
run_program("cyclegan_tf.train", parse_training, show)' "${flags[@]}")
# Slurm starts the same command again when it has taken the machines away, and when we ask for it. Before the first
# checkpoint there is nothing to go on from.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && compgen -G "$run/*/checkpoint" > /dev/null; then
  flags+=(--continue_train)
fi

# --kill-on-bad-exit: where one worker fails the others end too. They stop by themselves at SIGTERM, all at one step.
status=0
srun --kill-on-bad-exit=1 --wait=120 "$python" -m cyclegan_tf.train "${flags[@]}" || status=$?
# 143: stopped by the warning, with its state saved.
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
