#!/bin/sh
# Builds the environment of one role from its lock: nothing is resolved, and nothing that only
# developers need stays (no pip, no tests, no headers, no bytecode).
set -eu
lock=$1
venv=/opt/tidegate/venv
python -m venv --without-pip "$venv"
python -m pip --python "$venv/bin/python" install --quiet --no-cache-dir --no-compile --no-deps \
  -r "$lock"
packages=$(echo "$venv"/lib/python3.*/site-packages)
find "$packages" -type d -name tests -prune -exec rm -rf {} +
find "$packages" -type f \( -name '*.pyi' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete
