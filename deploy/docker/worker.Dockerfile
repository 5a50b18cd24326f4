# syntax=docker/dockerfile:1
# Workers and the reconciler, with the base model inside. Build from the top folder:
#   podman build --file deploy/docker/worker.Dockerfile --tag aparella-worker .
# For NVIDIA GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# Without another index PyPI's torch would come, which is the one for GPUs, 3 GB heavier.
ARG BASE=docker.io/library/python:3.13-slim

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG PIP_OPTIONS=""
ARG EXTRAS=""
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
# Torch alone in a layer of the build's cache: it changes seldom and is most of the image.
# hadolint ignore=SC2086
RUN python3 -m venv /tools \
    && python3 -m venv --without-pip /opt/aparella \
    && /tools/bin/pip --python /opt/aparella/bin/python install --no-cache-dir --no-compile \
        ${PIP_OPTIONS} --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX} torch
COPY src ./src
COPY api ./api
COPY client ./client
COPY db ./db
COPY deploy ./deploy
COPY workers ./workers
COPY deploy/docker/slim.sh /usr/local/bin/slim
# Libraries bring files for other Pythons, which do not compile: what matters is what imports.
# hadolint ignore=SC2086
RUN /tools/bin/pip --python /opt/aparella/bin/python install --no-cache-dir --no-compile \
        ${PIP_OPTIONS} --constraint constraints.txt '.[workers]' ${EXTRAS} \
    && sh /usr/local/bin/slim /opt/aparella \
    && { /opt/aparella/bin/python -m compileall -qq /opt/aparella/lib || true; } \
    && /opt/aparella/bin/python -c "import aparella.workers.tasks, sentence_transformers, datasets"

# hadolint ignore=DL3006
FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aparella-worker" \
      org.opencontainers.image.description="The workers and the reconciler of Aparella, with the base model" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/aparella /opt/aparella
RUN groupadd --gid 10001 aparella \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /tmp aparella \
    && install -d -o 10001 -g 10001 /var/lib/aparella /var/lib/aparella/artifacts /var/cache/aparella
ENV PATH=/opt/aparella/bin:$PATH \
    HOME=/tmp \
    XDG_CACHE_HOME=/var/cache/aparella \
    HF_HUB_OFFLINE=1 \
    APARELLA_PULSE=/tmp/aparella.pulse \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s \
    CMD ["python", "-m", "aparella.workers.pulse"]
CMD ["python", "-m", "aparella.workers", "--queues", "import,embed,match", "--concurrency", "1"]
