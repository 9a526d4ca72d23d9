#!/bin/sh
# The Python that the ignored tests run: PyTorch for CPUs with timm, and TensorBoard.
#
#   setup.sh DIR
#   BANDFEED_PYTHON=DIR/venv/bin/python cargo test --release --features train --test live --test train_weights -- --ignored
#
# About 0.7 GB to download. What is there already is kept.
set -eu
dir=${1:?usage: setup.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../../benches/peers/setup.sh" "$dir"
python="$dir/venv/bin/python"
"$python" -c 'import tensorboard' 2>/dev/null || "$python" -m pip install tensorboard==2.21.0
"$python" -c 'import timm, tensorboard; print("timm", timm.__version__, "tensorboard", tensorboard.__version__)'
