# Segmentation with the packaged weights on a CPU. docs/ship/docker.md has the commands.
FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim-trixie
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels pip install --no-cache-dir /wheels/*.whl \
    && useradd --create-home --uid 1000 taichinet
# With `--user` the user may have no home folder: caches are written to /tmp.
ENV HOME=/tmp USER=taichinet
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["taichinet"]
CMD ["--help"]
