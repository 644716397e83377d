#!/bin/sh
# Builds Horovod into an environment that has torch: sh workloads/training/build_horovod.sh ENVIRONMENT
# Takes a C++ compiler, make, CMake 3, and minutes: about nine on one core. MAKEFLAGS=-j8 shortens that. With CUDA
# in CUDA_HOME and torch's own NCCL it reduces over NCCL, otherwise over gloo.
set -eu

VERSION=0.28.1
SHA256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0

environment=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$environment/bin:$PATH
export PATH

# Its setup.py knows nothing of isolated builds: it asks the torch of this very environment.
pip install --quiet setuptools==84.2.1 wheel==0.48.0 packaging==26.3 cffi==2.1.1 cloudpickle==3.1.2 psutil==5.9.8 PyYAML==6.0.3
echo "horovod==$VERSION --hash=sha256:$SHA256" > "$work/requirements.txt"
pip download --quiet --no-deps --no-build-isolation --no-binary horovod --require-hashes -r "$work/requirements.txt" -d "$work"
tar -xzf "$work/horovod-$VERSION.tar.gz" -C "$work"
# Its last release is of 2023; headers of torch since 2.10 are C++20.
sed -i 's/set(CMAKE_CXX_STANDARD 14)/set(CMAKE_CXX_STANDARD 20)/' \
  "$work/horovod-$VERSION/CMakeLists.txt" "$work/horovod-$VERSION/horovod/torch/CMakeLists.txt"

export HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_MPI=1
if [ -n "${CUDA_HOME:-}" ]; then
  nccl=$(python -c 'import nvidia.nccl; print(nvidia.nccl.__path__[0])')
  # The wheel has the library under the name of its interface only.
  ln -sf libnccl.so.2 "$nccl/lib/libnccl.so"
  export HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_NCCL_HOME="$nccl" HOROVOD_NCCL_LINK=SHARED HOROVOD_CUDA_HOME="$CUDA_HOME"
fi
pip install --quiet --no-deps --no-build-isolation "$work/horovod-$VERSION"
python -c 'import horovod.torch'
horovodrun --check-build
