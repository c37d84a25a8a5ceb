#!/usr/bin/env bash
# Checks the style and runs the tests: bash tools/test.sh [--nightly | --extras | --spark] [arguments of pytest]
# --nightly: with those that take minutes. --extras: only those of videos, the page in the browser, the notebook and the
# container, in an environment of their own; they need Chromium and its driver (Debian: apt-get install chromium-driver).
# --spark: only those of what runs on Apache Spark, in an environment of their own; they need Java 17 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/environment.sh
python=${PYTHON:-python3}
check_python "$python"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
environment=.venv-test-$version
# PyTorch, with which results are compared, is a large download; it is left out where the newer stack is tested.
if [ "${1:-}" = --extras ] || [ "${1:-}" = --spark ]; then
  own=${1#--}
  extras=test,test-$own environment=.venv-$own-$version
  select=($(grep -rl --include='*_test.py' "mark\.$own" tests))
elif "$python" -c 'import sys; sys.exit(sys.version_info[:2] >= (3, 12))'; then
  extras=test,torch,test-torch select=()
else
  extras=test select=(-m 'not torch')
  echo 'Comparisons with PyTorch run on Python 3.10 and 3.11 only.'
fi
make_environment "$environment" "$python" "$extras"

"$environment/bin/ruff" check .
# A file's tests run in one process: what they share is made once. A failure is told at once, as a run may be stopped
# before its end.
"$environment/bin/python" -m pytest -n 2 --dist loadfile --instafail --durations=20 "${select[@]}" "$@"
