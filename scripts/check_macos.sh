#!/bin/sh
# Exit with 1 if this macOS is too old for the locked torch. The wheel of torch 2.15 is tagged macOS 14 and is installed
# there, but its MPS kernels require macOS 15: the import fails. `make doctor` checks the other known problems.
set -eu
cd "$(dirname "$0")/.."
[ "$(uname -s)" = Darwin ] || exit 0
release=$(sw_vers -productVersion 2>/dev/null) || release=
major=${release%%.*}
torch=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements/base.lock | tail -n 1)
minor=${torch#*.} && minor=${minor%%.*}
case $major$minor in *[!0-9]*) exit 0 ;; esac  # an unknown version
[ -n "$major" ] && [ -n "$minor" ] || exit 0
[ "$minor" -ge 15 ] && required=15 || required=14  # torch 2.8 to 2.14 require macOS 14 (pytorch#173149)
if [ "$major" -lt "$required" ]; then
    echo "setup: torch $torch requires macOS $required or newer, but this is macOS $release. Update macOS." >&2
    exit 1
fi
