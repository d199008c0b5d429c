# One image for every process: `reach serve notifier`, `reach sandbox`, `reach migrate` …
# A package mirror of your own: docker build --secret id=pip,src=pip.conf .
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY . .
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim-bookworm
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-index --no-deps /wheel/*.whl
RUN useradd --system --uid 10001 --home-dir /var/lib/reach --create-home reach
USER 10001
WORKDIR /var/lib/reach
ENV PYTHONUNBUFFERED=1 REACH_HOME=/var/lib/reach
ENTRYPOINT ["reach"]
CMD ["--help"]
