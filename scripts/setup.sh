#!/bin/sh
# Makes the virtual environment: setup.sh PYTHON VENV LOCK_FILE
# Names what is missing with the command that installs it. llama-cpp-python is compiled once for each environment.
set -eu
python=$1 venv=$2 lock=$3

missing() {
    printf 'olla needs %s. Install it with: %s\n' "$1" "$2" >&2
    exit 1
}

case "$(uname -s)" in
    Darwin) install_python='brew install python@3.13' install_compiler='xcode-select --install' install_venv=$install_python ;;
    *) install_python='sudo apt-get install python3 python3-venv python3-dev'
       install_compiler='sudo apt-get install build-essential'
       install_venv='sudo apt-get install python3-venv' ;;
esac

command -v "$python" >/dev/null 2>&1 || missing 'Python 3.11 or newer' "$install_python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || missing "Python 3.11 or newer ($("$python" --version) was found; name another with PYTHON=...)" "$install_python"
command -v "${CC:-cc}" >/dev/null 2>&1 || missing 'a C compiler' "$install_compiler"
command -v "${CXX:-c++}" >/dev/null 2>&1 || missing 'a C++ compiler' "$install_compiler"

if [ ! -x "$venv/bin/python" ]; then
    "$python" -m venv "$venv" || { rm -rf "$venv"; missing "Python's venv module" "$install_venv"; }
fi
if ! "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("llama_cpp") is None)'; then
    echo 'Installing olla; llama.cpp is compiled for this machine, which takes about five minutes.'
fi
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$lock"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -e .
