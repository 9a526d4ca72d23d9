#!/bin/sh
# Makes what compare.py needs: a Python environment with torchvision for CPUs, and images in class folders.
#
#   setup.sh DIR [SHARD.tar ...]
#
# DIR/venv gets PyTorch and torchvision from PyPI (about 0.6 GB to download, 2 GB on disk). DIR/images gets the samples of
# the WebDataset shards, one folder per class index. What is there already is kept. Needs python3 with venv, gcc, binutils.
set -eu

usage="usage: setup.sh DIR [SHARD.tar ...]"
dir=${1:?$usage}
shift
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
python="$dir/venv/bin/python"

for tool in python3 gcc nm readelf; do
    command -v "$tool" >/dev/null || { echo "setup.sh: $tool is missing (Debian: apt-get install python3-venv gcc binutils)" >&2; exit 1; }
done

[ -x "$python" ] || python3 -m venv "$dir/venv"

if ! "$python" -c 'import torch, torchvision, PIL' 2>/dev/null; then
    # PyPI's Linux wheel of torch asks for 2.4 GB of CUDA libraries. A CPU calls none of them: the two whose data is used
    # while torch loads are installed, and link_stubs.py makes stand-ins for the rest.
    "$python" -m pip install --no-deps torch==2.15.0 torchvision==0.29.2 pillow==12.3.0 \
        nvidia-cuda-runtime==13.2.86 nvidia-cuda-cupti==13.2.86
    "$python" -m pip install numpy typing_extensions sympy networkx jinja2 fsspec filelock setuptools
    "$python" "$here/link_stubs.py"
fi
if ! "$python" -c 'import timm' 2>/dev/null; then
    # For compare.py --augment. Without dependencies, since it asks for torch's whole wheel.
    "$python" -m pip install --no-deps timm==1.0.22
    "$python" -m pip install safetensors==0.8.0 pyyaml==6.0.4 huggingface_hub==2.4.0
fi
"$python" -c 'import torch, torchvision, PIL
print("torch", torch.__version__, "torchvision", torchvision.__version__, "pillow", PIL.__version__)'

if [ $# -gt 0 ]; then
    "$python" "$here/unpack.py" --out "$dir/images" "$@"
fi
