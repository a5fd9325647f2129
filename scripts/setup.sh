#!/bin/sh
# Makes the virtual environment: setup.sh PYTHON VENV LOCK_FILE
# Names what is missing with the command that installs it. llama.cpp is compiled once for each environment, and anew
# when CMAKE_ARGS asks for another build.
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
    || missing "Python 3.11 or newer ($("$python" --version 2>&1) was found; name another with PYTHON=...)" "$install_python"
# Run, not looked for: macOS has a cc that only says how to get one, and CC may be "ccache cc".
${CC:-cc} --version >/dev/null 2>&1 || missing 'a C compiler' "$install_compiler"
${CXX:-c++} --version >/dev/null 2>&1 || missing 'a C++ compiler' "$install_compiler"

# Without pip, the environment is missing or was left half-made.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv "$venv" || missing "Python's venv module" "$install_venv"
fi
pip() {
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"
}

built=$venv/.cmake-args
if [ -n "${CMAKE_ARGS:-}" ] && [ "$CMAKE_ARGS" != "$(cat "$built" 2>/dev/null)" ]; then
    # pip would take what it built before, without these arguments, out of its cache or leave it in place.
    echo "Compiling llama.cpp with $CMAKE_ARGS; this takes several minutes."
    pip --no-cache-dir --force-reinstall --no-deps "$(grep '^llama-cpp-python==' "$lock")"
    printf '%s\n' "$CMAKE_ARGS" >"$built"
elif ! "$venv/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("llama_cpp") is None)'; then
    echo 'Installing olla; llama.cpp is compiled for this machine, which takes about five minutes.'
fi
pip -r "$lock"
pip --no-deps -e .
