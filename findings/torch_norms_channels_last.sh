#!/usr/bin/env bash
# On a CPU, PyTorch's batch norm of channels-last tensors adds up float32 one voxel after the other,
# and its instance norm leaves that memory format.
#
# Input:    one 3-D feature map, float32 [1, 8, 32, 160, 160], normal with mean 7 and deviation 3.
# Expected: PyTorch 2.13.0's batch norm in training (of one sample, an instance norm) is as near to
#           float64 in the channels-last format as in the contiguous one, where it is right to 2e-6;
#           and instance_norm keeps the channels-last format, as batch_norm does.
# Seen:     an error of about 1e-3 with channels last, and 2e-6 contiguous; the result of
#           instance_norm is contiguous, so that the next convolution copies it back.
# Way out:  batch_norm_update_stats of some slices at a time, joined in float64, then native_batch_norm
#           with these moments: right to 2e-5, and the format stays.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch.nn.functional import batch_norm, instance_norm

torch.set_num_threads(1)
torch.manual_seed(0)
last = torch.channels_last_3d
plain = 3 * torch.randn(1, 8, 32, 160, 160) + 7
exact = instance_norm(plain.double())


def error(tensor):
    return (batch_norm(tensor, None, None, training=True) - exact).abs().max().item()


errors = error(plain), error(plain.contiguous(memory_format=last))
kept = instance_norm(plain.contiguous(memory_format=last)).is_contiguous(memory_format=last)
print("torch", torch.__version__)
print(f"batch_norm, largest error: contiguous {errors[0]:.1e}, channels last {errors[1]:.1e}")
print("instance_norm keeps channels last:", kept)
sys.exit(not (errors[0] < 1e-5 and errors[1] > 1e-4 and not kept))
PYTHON
