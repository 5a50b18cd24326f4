# syntax=docker/dockerfile:1
# The API and the migration: no torch, no Celery. Build from the top folder:
#   podman build --file deploy/docker/api.Dockerfile --tag aparella-api .
# Both stages take BASE: an image with Python 3.11 or newer as `python3`, and its venv module.
ARG BASE=docker.io/library/python:3.13-slim

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG PIP_OPTIONS=""
ARG EXTRAS=""
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
COPY api ./api
COPY client ./client
COPY db ./db
COPY deploy ./deploy
COPY workers ./workers
# pip stays outside what it installs. What slim deletes is never imported, as the last line sees.
COPY deploy/docker/slim.sh /usr/local/bin/slim
# hadolint ignore=SC2086
RUN python3 -m venv /tools \
    && python3 -m venv --without-pip /opt/aparella \
    && /tools/bin/pip --python /opt/aparella/bin/python install --no-cache-dir --no-compile \
        ${PIP_OPTIONS} --constraint constraints.txt '.[api]' ${EXTRAS} \
    && sh /usr/local/bin/slim /opt/aparella \
    && { /opt/aparella/bin/python -m compileall -qq /opt/aparella/lib || true; } \
    && /opt/aparella/bin/python -c "import aparella.api.app, aparella.db.migrate"

# hadolint ignore=DL3006
FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aparella-api" \
      org.opencontainers.image.description="The HTTP interface and the migrations of Aparella" \
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
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=5)"]
CMD ["python", "-m", "aparella.api", "--host", "0.0.0.0", "--port", "8000"]
