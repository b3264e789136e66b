"""The viewer's data: a whole volume as one picture, which a browser decodes by itself."""

import base64
import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from manifests.report.planes import Scan, class_middles

# Hounsfield units and the grey level that stands for them: soft tissue has most of the 256.
LEVELS = ((-1024.0, 0), (-200.0, 40), (300.0, 230), (1500.0, 255))
QUALITY = 80  # of WebP


def viewer_data(scan: Scan) -> Mapping[str, Any]:
    """Return a case for the page's viewer: axial slices tiled row by row, as data URLs.

    A page that is opened from a file may not read the pixels of a picture beside it; those of a
    data URL it may.
    """
    columns = math.ceil(math.sqrt(scan.hu.shape[2]))
    volumes = {"labels": scan.labels, "prediction": scan.prediction}
    return {
        "size": scan.hu.shape,
        "columns": columns,
        "levels": LEVELS,
        "hu": _data_url(_tiled(companded(scan.hu), columns), "WEBP", quality=QUALITY, method=2),
        **{
            name: _data_url(_tiled(volume, columns), "PNG", compress_level=6)
            for name, volume in volumes.items()
            if volume is not None
        },
        "middles": {n: list(at) for n, at in class_middles(scan.labels).items()},
    }


def companded(hu: np.ndarray) -> np.ndarray:
    """Return Hounsfield units as grey levels, by `LEVELS`."""
    units, levels = zip(*LEVELS, strict=True)
    first = int(units[0])
    table = np.interp(np.arange(first, int(units[-1]) + 1), units, levels).round().astype(np.uint8)
    return table[hu.clip(first, int(units[-1])).astype(np.int32) - first]


def _tiled(volume: np.ndarray, columns: int) -> np.ndarray:
    x, y, z = volume.shape
    rows = math.ceil(z / columns)
    padded = np.zeros((x, y, rows * columns), np.uint8)
    padded[..., :z] = volume
    return padded.reshape(x, y, rows, columns).transpose(2, 1, 3, 0).reshape(rows * y, columns * x)


def _data_url(pixels: np.ndarray, form: str, **how: Any) -> str:  # noqa: ANN401
    file = BytesIO()
    Image.fromarray(pixels).save(file, form, **how)
    coded = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{coded}"
