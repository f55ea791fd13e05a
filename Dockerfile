# Images of the `da3` command; docs/docker.md says how to build and run them.
#
#   docker build --target cpu  --build-arg TORCH_INDEX=URL -t da3:cpu .
#   docker build --target cuda -t da3:cuda .

ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/da3
ENV PATH=/opt/da3/bin:$PATH
WORKDIR /source
# Torch is the largest part by far: in a layer of its own it is not installed again when the source changes.

FROM build AS build-cpu
# The index of PyTorch's wheels for the CPU. Empty: the default index, whose wheels for Linux on x86-64 bring CUDA along.
ARG TORCH_INDEX=
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} 'torch>=2.6'
COPY . .
RUN pip install '.[video,heif,exr]'

FROM build AS build-cuda
RUN pip install 'torch>=2.6'
COPY . .
RUN pip install '.[video,heif,exr,cuda]'

FROM python:${PYTHON_VERSION}-slim AS runtime
LABEL org.opencontainers.image.title="depth-anything-3-fast" \
      org.opencontainers.image.description="Depth Anything 3: from images and videos to depth, cameras and points" \
      org.opencontainers.image.licenses="Apache-2.0"
# XDG_CACHE_HOME: weights from the hub, compiled kernels and calibration. Any user may write there, so that `--user` works.
RUN useradd --uid 1000 --create-home da3 && mkdir -m 1777 /cache /data
ENV PATH=/opt/da3/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    XDG_CACHE_HOME=/cache \
    NUMBA_CACHE_DIR=/cache/numba \
    TRITON_HOME=/cache
VOLUME /cache
WORKDIR /data
HEALTHCHECK NONE
ENTRYPOINT ["da3"]
CMD ["--help"]

FROM runtime AS cuda
# Triton compiles the launchers of its kernels with a C compiler.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# `video` is needed for NVIDIA's video decoder.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
COPY --from=build-cuda /opt/da3 /opt/da3
USER 1000

FROM runtime AS cpu
COPY --from=build-cpu /opt/da3 /opt/da3
USER 1000
