# Shell functions that demo.sh and test.sh share: which Python, and an environment with the package in it.

# Where this is set, each of the programs that are started would compile every module anew, which takes 8 s for
# TensorFlow's.
unset PYTHONDONTWRITEBYTECODE

# Says why a Python cannot be used, and leaves; else prints nothing.
check_python() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && return
  version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo 'not found')
  echo "$1 ($version) is no Python from 3.10 to 3.13; set PYTHON to one, as in PYTHON=python3.11 bash $0" >&2
  exit 1
}

# make_environment FOLDER PYTHON EXTRAS: a virtual environment with the package in place and its extras.
# It is used again while it belongs to the same Python and setup.py asks for the same; else it is made anew.
make_environment() {
  wanted="$("$2" -c 'import sys; print(sys.version)') $3 $(cksum < setup.py)"
  [ "$(cat "$1/made-from" 2>/dev/null)" != "$wanted" ] || return 0
  # Only what was begun here is deleted: a folder of that name may be somebody's own.
  if [ -e "$1" ] && [ ! -e "$1/made-from" ]; then
    echo "'$1' was not made by $0; move it away." >&2
    exit 1
  fi
  if [ "$("$2" -c 'import os, sys; print(os.path.realpath(sys.prefix))')" = "$(pwd -P)/$1" ]; then
    echo "PYTHON ($2) lies in '$1', which has to be made anew; set PYTHON to one outside of it." >&2
    exit 1
  fi
  echo "Installing into $1 (once; about 3 GB) ..."
  rm -rf "$1"
  mkdir "$1"
  # After an interruption this marks the folder as ours, and as not finished.
  echo unfinished > "$1/made-from"
  "$2" -m venv "$1"
  # What is imported is compiled when it first is; compiling all would take as long as the rest.
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[$3]"
  echo "$wanted" > "$1/made-from"
}
