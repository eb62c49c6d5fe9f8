#!/bin/sh
# Create .venv and install the locked packages: the base and the extras that [tool.firstlight] in pyproject.toml lists.
# Use uv if it is installed, otherwise venv and pip.
set -eu
cd "$(dirname "$0")/.."
sh scripts/check_macos.sh
python=$(sh scripts/find_python.sh) || python=
echo "setup: installing the dependencies into .venv (only once; 1 GB on macOS, 6 GB on Linux with CUDA)"
if command -v uv >/dev/null 2>&1; then
    unset UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX
    # If PATH has no suitable Python, uv downloads one.
    [ -n "$python" ] || echo "setup: uv downloads Python 3.12 (30 MB)"
    uv venv --quiet --allow-existing --python "${python:-3.12}" .venv
    # Compile during installation. Otherwise the first command would spend half a minute on it.
    installer="uv pip install --quiet --python .venv --compile-bytecode"
elif [ -n "$python" ]; then
    "$python" -m venv .venv
    # Settings of the user or of a cluster module would install the packages elsewhere.
    unset PIP_USER PIP_PREFIX PIP_TARGET PIP_ROOT PIP_DRY_RUN
    installer=".venv/bin/python -m pip install --progress-bar off --no-user --prefix .venv"
else
    echo "setup: Python 3.11 to 3.14 was not found on PATH. Install Python 3.12, or uv, which downloads Python." >&2
    exit 1
fi
locks=$(.venv/bin/python scripts/pyproject.py locks)
set --
for lock in $locks; do
    set -- "$@" -r "$lock"
done
# Shows a line every ten seconds: pip and uv are silent for minutes.
install() {
    .venv/bin/python scripts/progress.py setup $installer "$@"
}
install --require-hashes "$@"
install --no-deps -e .
# .venv must not be marked as ready if the packages are elsewhere.
.venv/bin/python -I scripts/verify_setup.py $locks
