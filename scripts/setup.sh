#!/bin/sh
# Make .venv and install what requirements.lock pins: by uv where it is there, else by venv and pip.
set -eu
cd "$(dirname "$0")/.."
python=$(sh scripts/find_python.sh) || python=
echo "setup: installing into .venv, once (1 GB on a Mac, 6 GB with CUDA on Linux)"
if command -v uv >/dev/null 2>&1; then
    # Without a fitting Python on the PATH, uv fetches one.
    uv venv --quiet --allow-existing --python "${python:-3.12}" .venv
    # Compiled now: the first start would otherwise spend half a minute on it.
    uv pip install --quiet --python .venv --compile-bytecode --require-hashes -r requirements.lock
    uv pip install --quiet --python .venv --no-deps -e .
elif [ -n "$python" ]; then
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock
    .venv/bin/python -m pip install --quiet --no-deps -e .
else
    echo "setup: needs Python 3.11, 3.12 or 3.13 on the PATH: install one, or install uv" >&2
    exit 1
fi
