# Training and segmentation on an NVIDIA GPU. The CUDA libraries are those that PyTorch installs, so that a plain image is enough: the
# machine needs only the NVIDIA driver and its container toolkit. docs/ship/docker.md has the commands.
FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim-trixie
# Triton compiles its kernels with a C compiler when a training starts.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/constraints.txt,target=/constraints.txt \
    wheel=$(echo /wheels/*.whl) && pip install --no-cache-dir --constraint /constraints.txt "${wheel}[train,export,pretrained]" \
    && useradd --create-home --uid 1000 taichinet
# With `--user` the user may have no home folder: caches are written to /tmp.
ENV HOME=/tmp USER=taichinet
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["taichinet"]
CMD ["--help"]
