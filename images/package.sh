#!/bin/sh
# Builds Tidegate's wheel, lays it out under /project as it will lie in the image, and lists all
# that the image holds.
set -eu
role=$1
version=$2
venv=/opt/tidegate/venv
python -m venv /tmp/builder
/tmp/builder/bin/python -m pip install --quiet --no-cache-dir --no-deps \
  "$(grep -o '^setuptools==[^ ]*' requirements/dev.txt)"
/tmp/builder/bin/python -m pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation \
  --wheel-dir /tmp/wheel .
python -m pip --python "$venv/bin/python" install --quiet --no-cache-dir --no-deps \
  --root /project /tmp/wheel/*.whl
python images/sbom.py "tidegate/$role" "$version" \
  "$venv"/lib/python3.*/site-packages /project"$venv"/lib/python3.*/site-packages \
  > /project/opt/tidegate/sbom.json
