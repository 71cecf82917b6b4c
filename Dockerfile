# The image of bulkid; docs/containers.md says how to build, check and use it.
#   docker build --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:... --tag bulkid .
# The base is any Debian or Ubuntu with Python 3.11 to 3.14 and its venv. A release names it by its digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/bulkid
COPY requirements/build.lock requirements/all.lock requirements/
# The secret is optional: a pip.conf that names a package index of your own.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.lock \
    && /opt/build/bin/pip --python /opt/bulkid/bin/python3 install --no-cache-dir --require-hashes --only-binary :all: \
       -r requirements/all.lock
COPY pyproject.toml README.md LICENSE ./
COPY bulkid bulkid
# Nothing is fetched here: hatchling builds the wheel, and what it requires is installed.
RUN /opt/build/bin/pip wheel --no-index --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/bulkid/bin/python3 install --no-index --no-deps /wheels/*.whl \
    && /opt/bulkid/bin/bulkid --version

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="bulkid" \
      org.opencontainers.image.description="Change UiPath robot accounts in bulk from a spreadsheet" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
RUN groupadd --gid 10001 bulkid \
    && useradd --uid 10001 --gid 10001 --home-dir /state --no-create-home --shell /usr/sbin/nologin bulkid \
    && install -d -o 10001 -g 0 -m 0770 /state /reports \
    && install -d /work
COPY --from=build /opt/bulkid /opt/bulkid
COPY docs/deploy/health.py /opt/bulkid/health.py
ENV PATH=/opt/bulkid/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/state \
    PYTHONDONTWRITEBYTECODE=1 \
    BULKID_STATE_DIR=/state \
    BULKID_REPORT_DIR=/reports
USER 10001:10001
WORKDIR /work
VOLUME ["/state", "/reports"]
EXPOSE 8766
# bulkid is process 1, handles SIGTERM itself, and waits for each process that it starts: it needs no init.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python3", "/opt/bulkid/health.py"]
ENTRYPOINT ["bulkid"]
CMD ["--help"]
