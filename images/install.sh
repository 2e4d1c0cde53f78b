#!/bin/sh
# install.sh LOCK [MODULE ...]: builds the environment of one role from its lock.
#
# Nothing is resolved, and nothing that only developers need stays: no pip, tests or headers.
# WITHOUT names packages of the lock that are never imported, UNUSED folders below the packages.
# The modules are imported once: a read-only container cannot keep bytecode, only what is really
# loaded is worth its room, and what was left out wrongly fails here.
set -eu
lock=$1
shift
venv=/opt/tidegate/venv
for name in ${WITHOUT:-}; do
  grep -q "^$name==" "$lock" || { echo "error: $name is not in $lock" >&2; exit 2; }
  sed -i "/^$name==/d" "$lock"
done
python -m venv --without-pip "$venv"
python -m pip --python "$venv/bin/python" install --quiet --no-cache-dir --no-compile --no-deps \
  -r "$lock"
packages=$(echo "$venv"/lib/python3.*/site-packages)
find "$packages" -type d -name tests -prune -exec rm -rf {} +
find "$packages" -type f \( -name '*.py[ix]' -o -name '*.px[di]' -o -name '*.h' -o -name '*.hpp' \
  -o -name '*.a' \) -delete
for folder in ${UNUSED:-}; do
  [ -d "$packages/$folder" ] || { echo "error: $folder is not installed" >&2; exit 2; }
  rm -rf "${packages:?}/$folder"
done
# onnxruntime's module holds all of its library, which lies beside it for other languages.
rm -rf "$packages"/onnxruntime/capi/libonnxruntime.so.* "$packages/onnx/backend/test" \
  "$packages"/pyarrow/libarrow_flight.* "$packages"/pyarrow/libarrow_python_flight.* \
  "$packages"/pyarrow/_flight.* "$packages"/pyarrow/libarrow_python*.so \
  "$packages"/pyarrow/libarrow_python*.so.*.*.*
# Of three hundred services' descriptions an object store needs its own and those of logging in.
if [ -d "$packages/botocore/data" ]; then
  find "$packages/botocore/data" -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' \
    ! -name sts ! -name signin -exec rm -rf {} +
fi
if [ -d "$packages/torch" ]; then
  rm -rf "$packages/torch/test" "$packages/torch/include"
  find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
fi
for module in "$@"; do
  "$venv/bin/python" -c "import $module"
done
