#!/usr/bin/env bash
# Trains a CycleGAN on real photographs, translates held-out ones, and says where to look: bash tools/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
python=${PYTHON:-python3}
check_python "$python"
make_environment .venv "$python" demo

rm -rf checkpoints/demo results/demo
.venv/bin/python -m cyclegan_tf.train --flagfile=flags/demo.cfg "$@"
.venv/bin/python -m cyclegan_tf.translate --name=demo --load_size=256
