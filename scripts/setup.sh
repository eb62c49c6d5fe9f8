#!/bin/sh
# Make .venv and install the packages that requirements/ pins, of the base and of the extras that pyproject.toml lists in
# [tool.firstlight]: with uv if it is installed, else with venv and pip.
set -eu
cd "$(dirname "$0")/.."
python=$(sh scripts/find_python.sh) || python=
echo "setup: installing into .venv, once (1 GB on a Mac, 6 GB with CUDA on Linux)"
if command -v uv >/dev/null 2>&1; then
    # Without a fitting Python on the PATH, uv fetches one.
    uv venv --quiet --allow-existing --python "${python:-3.12}" .venv
    # Compiled now: the first start would otherwise spend half a minute on it.
    install="uv pip install --quiet --python .venv --compile-bytecode"
elif [ -n "$python" ]; then
    "$python" -m venv .venv
    install=".venv/bin/python -m pip install --quiet"
else
    echo "setup: needs Python 3.11, 3.12 or 3.13 on the PATH: install one, or install uv" >&2
    exit 1
fi
locks=$(.venv/bin/python scripts/pyproject.py locks)
set --
for lock in $locks; do
    set -- "$@" -r "$lock"
done
$install --require-hashes "$@"
$install --no-deps -e .
