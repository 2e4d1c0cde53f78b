#!/bin/sh
# images/build.sh [ROLE ...]: builds REPOSITORY/ROLE:TAG with podman, or docker where there is none.
#
#   REPOSITORY  where the images will lie [docker.io/tidegate: what manifests call `tidegate`]
#   TAG         tag and version label [0.1.0]
#   BASE        base image; by digest for a release [each Dockerfile's own]
#   ENGINE      podman or docker [whichever is there]
#   OPTIONS     further options of `ENGINE build`, such as mounts for a local wheel folder
set -eu
cd "$(dirname "$0")/.."
tag=${TAG:-0.1.0}
engine=${ENGINE:-$(command -v podman || command -v docker)} || {
  echo "error: neither podman nor docker is here; install one of them" >&2
  exit 2
}
options="--build-arg VERSION=$tag ${BASE:+--build-arg BASE=$BASE} ${OPTIONS:-}"
if revision=$(git rev-parse HEAD 2>/dev/null); then
  options="$options --build-arg REVISION=$revision"
fi
# OCI's own format has no HEALTHCHECK.
case $engine in *podman) options="$options --format docker --layers" ;; esac
for role in ${*:-cpu gpu serving monitor}; do
  # shellcheck disable=SC2086  # the options are words
  "$engine" build $options --tag "${REPOSITORY:-docker.io/tidegate}/$role:$tag" \
    --file "images/$role.Dockerfile" .
done
