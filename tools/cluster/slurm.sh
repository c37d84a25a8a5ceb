#!/usr/bin/env bash
# Trains on several machines of a Slurm cluster: sbatch tools/cluster/slurm.sh FLAGS OF cyclegan_tf.train
#
# One task per machine, with all the GPUs that are requested there. --checkpoints_dir and --dataroot have to be on a
# disk that all machines can see. To continue the run, submit the job again with --continue_train. When its time is
# nearly up, Slurm warns the job, which then saves its state and requeues itself (see below).
#
# If the first machine failed, its lock on the run may remain: other machines cannot tell whether its process is still
# writing. The job that Slurm starts again then names the lock file and ends. Delete that file once you are sure that
# the machine is off or was restarted, and submit the job again with --continue_train.
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
# The run's directory, from the flags as the program itself reads them, including flag files. Wrong flags end the job
# here.
run=$("$python" -c '
import os, sys
from cyclegan_tf.runtime.program import run_program
from cyclegan_tf.settings.run_flags import parse_training
def show(settings):
    print(os.path.join(settings[0].checkpoints_dir, settings[0].run_name))
    return 0
run_program("cyclegan_tf.train", parse_training, show)' "${flags[@]}")
# Slurm runs this script again when it has taken the machines away, and when we requeue the job. Before the first
# checkpoint there is nothing to continue from.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && compgen -G "$run/*/checkpoint" > /dev/null; then
  flags+=(--continue_train)
fi

# --kill-on-bad-exit: if one worker fails, the others end, too. On SIGTERM all of them stop after the same step.
status=0
srun --kill-on-bad-exit=1 --wait=120 "$python" -m cyclegan_tf.train "${flags[@]}" || status=$?
# 143: stopped by Slurm's warning, with the state saved.
if [ "$status" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
