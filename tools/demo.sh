#!/usr/bin/env bash
# Trains a CycleGAN on real photographs, translates held-out ones, and says where to look:
# bash tools/demo.sh [flags of cyclegan_tf.train]
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
check_python "${PYTHON:-python3}"
make_environment .venv-demo "${PYTHON:-python3}" demo,app
exec .venv-demo/bin/python tools/demo.py "$@"
