#!/bin/sh
# Print the path of a Python from 3.11 to 3.14 on PATH: python3, otherwise the newest one.
# python3 is the interpreter of an activated environment, and the one that a CI job has set up.
for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
        "$name" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
exit 1
