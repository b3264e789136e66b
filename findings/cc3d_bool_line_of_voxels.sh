#!/usr/bin/env bash
# connected-components-3d raises on some boolean masks that are one voxel thick along two axes.
#
# Input:    the mask [1, 0, 1] as a boolean array of shape (1, 1, 3), with connectivity 26; such masks
#           come from cropping a label to its bounding box.
# Expected: connected-components-3d 4.1.1 finds two components, as it does for the same mask as uint8.
# Seen:     an exception ("maximum length exception"); label numbers exceed the room that was set
#           aside for them.
# Way out:  give the mask as uint8: mask.view(np.uint8).
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet connected-components-3d==4.1.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import sys
from importlib.metadata import version

import cc3d
import numpy as np


def outcome(mask):
    try:
        return f"{cc3d.connected_components(mask, connectivity=26).max()} components"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


mask = np.array([[[1, 0, 1]]], bool)
as_bytes, as_bool = outcome(mask.view(np.uint8)), outcome(mask)
print(f"connected-components-3d {version('connected-components-3d')}")
print(f"uint8: {as_bytes}")
print(f"bool:  {as_bool}")
sys.exit(0 if as_bytes == "2 components" and "maximum length" in as_bool else 1)
PYTHON
