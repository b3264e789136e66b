#!/usr/bin/env bash
# MONAI's MetaTensor is a torch.Tensor whose new_empty() refuses sizes that every other tensor takes.
#
# Input:    x.new_empty(2, 3), one of the two forms that PyTorch documents for Tensor.new_empty, where
#           x is the MetaTensor that MONAI's loaders and transforms return.
# Expected: MONAI 1.6.1 with PyTorch 2.13.0 returns a tensor of shape (2, 3), as for any subclass.
# Seen:     a TypeError ("argument 'size' must be tuple of ints, not int"); x.new_empty((2, 3)) and
#           x.new_zeros(2, 3) work. So a loss of one's own that runs on tensors fails on MONAI's.
# Way out:  give the size as one tuple, or take x.as_tensor() first.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 monai==1.6.1
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import monai
import torch
from monai.data import MetaTensor


def outcome(call):
    try:
        return f"a tensor of shape {tuple(call().shape)}"
    except TypeError as error:
        return f"TypeError: {error}"


plain, meta = torch.zeros(1), MetaTensor(torch.zeros(1))
seen = {
    "Tensor.new_empty(2, 3)": outcome(lambda: plain.new_empty(2, 3)),
    "MetaTensor.new_empty((2, 3))": outcome(lambda: meta.new_empty((2, 3))),
    "MetaTensor.new_zeros(2, 3)": outcome(lambda: meta.new_zeros(2, 3)),
    "MetaTensor.new_empty(2, 3)": outcome(lambda: meta.new_empty(2, 3)),
}
print(f"MONAI {monai.__version__}, PyTorch {torch.__version__}")
for call, what in seen.items():
    print(f"{call}: {what}")
*others, last = seen.values()
right = all(what == "a tensor of shape (2, 3)" for what in others)
sys.exit(0 if right and last.startswith("TypeError") else 1)
PYTHON
