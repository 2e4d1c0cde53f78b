# The drift check. Alibi Detect is under the Business Source License 1.1: production use needs a
# licence from Seldon.
# A release gives the base by digest: --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
WORKDIR /build
COPY images/install.sh images/
COPY requirements/monitor.txt requirements/
# Alibi Detect asks for these to perturb and to draw images, which the drift check never does.
RUN WITHOUT="opencv-python scikit-image imageio tifffile lazy-loader matplotlib contourpy cycler \
    fonttools kiwisolver pyparsing" \
    sh images/install.sh requirements/monitor.txt alibi_detect.cd.tabular alibi_detect.cd.mmd \
    pandas pyarrow.parquet fsspec pydantic yaml

FROM dependencies AS package
ARG VERSION=0.1.0
COPY pyproject.toml README.md LICENSE ./
COPY requirements/main.in requirements/dev.txt requirements/
COPY images/package.sh images/sbom.py images/
COPY components components
COPY pipelines pipelines
COPY tidegate tidegate
RUN sh images/package.sh monitor "$VERSION"

FROM ${BASE}
RUN echo 'tidegate:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'tidegate:x:10001:' >> /etc/group
COPY --from=dependencies /opt/tidegate/venv /opt/tidegate/venv
COPY --from=package /project/opt/tidegate/venv/lib /opt/tidegate/venv/lib
COPY --from=package /project/opt/tidegate/sbom.json /opt/tidegate/
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate/monitor" \
      org.opencontainers.image.description="Tidegate: the drift check" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0 AND BUSL-1.1" \
      org.opencontainers.image.base.name="$BASE"
ENV PATH=/opt/tidegate/venv/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    GOMP_SPINCOUNT=0 \
    DO_NOT_TRACK=1 \
    HF_HUB_OFFLINE=1
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "tidegate.monitoring.drift"]
