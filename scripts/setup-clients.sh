#!/bin/sh
# Makes the environment of the clients that tests/clients proves: setup-clients.sh PYTHON VENV
# Apart from olla's own, because they bring more than a hundred packages; uv, because pip takes three times as long.
set -eu
python=$1 venv=$2

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check uv
echo 'Installing the clients; this takes one to three minutes.'
"$venv/bin/uv" pip install -q --python "$venv/bin/python" -r requirements-clients.lock
[ -x "$venv/instructor/bin/python" ] || "$venv/bin/uv" venv -q --python "$venv/bin/python" "$venv/instructor"
"$venv/bin/uv" pip install -q --python "$venv/instructor/bin/python" -r requirements-instructor.lock
if command -v npm >/dev/null 2>&1; then
    npm ci --silent --no-audit --no-fund --prefix tests/clients/js
else
    echo 'npm was not found: the tests of the npm clients will be skipped.'
fi
