# Shell functions that demo.sh and test.sh share: which Python, and an environment with the package in it.

# Says why a Python cannot be used, and leaves; else prints nothing.
check_python() {
  "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && return
  version=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo 'not found')
  echo "$1 ($version) is no Python from 3.10 to 3.13; set PYTHON to one, as in PYTHON=python3.11 bash $0" >&2
  exit 1
}

# make_environment FOLDER PYTHON EXTRAS: a virtual environment with the package in place and its extras.
# It is used again while it belongs to the same Python and setup.py asks for the same.
make_environment() {
  wanted="$("$2" -c 'import sys; print(sys.version)') $3 $(cksum < setup.py)"
  if [ "$(cat "$1/made-from" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into $1 (once; about 3 GB) ..."
    rm -rf "$1"
    "$2" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$3]"
    echo "$wanted" > "$1/made-from"
  fi
}
