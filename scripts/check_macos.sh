#!/bin/sh
# Exit with 1 if this macOS is too old for the locked torch. The wheel of torch 2.15 is tagged macOS 14 and is installed
# there, but its MPS kernels require macOS 15: the import fails. `make doctor` checks the other known problems.
set -eu
cd "$(dirname "$0")/.."
[ "$(uname -s)" = Darwin ] || exit 0
release=$(sw_vers -productVersion 2>/dev/null) || release=
major=${release%%.*}
torch=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements/base.lock | tail -n 1)
rest=${torch#*.}
torch_major=${torch%%.*} torch_minor=${rest%%.*}
case $major$torch_major$torch_minor in *[!0-9]*) exit 0 ;; esac  # an unknown version
[ -n "$major" ] && [ -n "$torch_major" ] && [ -n "$torch_minor" ] || exit 0
# torch 2.8 to 2.14 require macOS 14 (pytorch#173149).
[ $((torch_major * 1000 + torch_minor)) -ge 2015 ] && required=15 || required=14
if [ "$major" -lt "$required" ]; then
    echo "setup: torch $torch requires macOS $required or newer, but this is macOS $release. Update macOS." >&2
    exit 1
fi
