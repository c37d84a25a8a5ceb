#!/usr/bin/env bash
# Translates a folder of images in an array of Slurm jobs: sbatch --array=0-15 tools/cluster/translate_array.sh FLAGS
#
# FLAGS are those of cyclegan_tf.translate, with --input; --checkpoints_dir, --input and --output have to be on a disk
# that all machines can see. Each job of the array takes one shard, so that together they translate every image once.
# Results that are there already are left out: to go on after a failure, submit the same again. For some of the jobs
# alone, say how many shards there are in all:
#   SHARDS=16 sbatch --array=3,7 tools/cluster/translate_array.sh FLAGS
#SBATCH --job-name=translate
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

shards=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}
if [ -z "${SHARDS:-}" ] && [ "$SLURM_ARRAY_TASK_MIN $SLURM_ARRAY_TASK_MAX" != "0 $((shards - 1))" ]; then
  echo "The jobs of --array are not 0 to $((shards - 1)); set SHARDS to the number of all shards." >&2
  exit 2
fi
# TensorFlow would take all cores of the machine for its own.
export TF_NUM_INTRAOP_THREADS=${SLURM_CPUS_PER_TASK:-1} OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec "${PYTHON:-python3}" -m cyclegan_tf.translate --shard="$SLURM_ARRAY_TASK_ID/$shards" "$@"
