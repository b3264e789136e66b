"""NiiVue: a case in another viewer, with surfaces in space, where nilearn brings it."""
# pyright: reportUnknownMemberType=false

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Image

from manifests.classes.colour_tables import niivue_colormap
from manifests.classes.label_space import LabelSpace
from manifests.ground.atomic import whole_file, write_text
from manifests.ground.errors import ManifestError
from manifests.report.planes import WINDOW_HU, Scan

FOLDER = "niivue"
SCRIPT = "niivue.umd.js"
# NiiVue 0.68.1, as nilearn 0.14.1 carries it
SHA256 = "c40dc2679c337c906deef22e157ee02c17459db9b8ecc51aa773af27791a567c"
PAGE = ("niivue.html", "niivue.js", "niivue_licence.txt")


def install_niivue(report: Path) -> None:
    """Copy NiiVue with its licence, and the page that shows a case in it, into a report.

    Raises:
        ManifestError: It is not there, or is another version.
    """
    spec = find_spec("nilearn")
    path = Path(spec.origin).parent / "_assets" / "js" / SCRIPT if spec and spec.origin else None
    script = path.read_bytes() if path and path.is_file() else b""
    if hashlib.sha256(script).hexdigest() != SHA256:
        got = "another version" if script else "nothing"
        msg = (
            f"--niivue: expected NiiVue 0.68.1, which nilearn 0.14.1 brings; got {got}: "
            f"pip install 'marginalia[niivue]', or leave out --niivue"
        )
        raise ManifestError(msg)
    with whole_file(report / FOLDER / SCRIPT) as temporary:
        temporary.write_bytes(script)
    for name in PAGE:
        source = files("manifests.report").joinpath("page", name)
        write_text(report / FOLDER / name, source.read_text(encoding="utf-8"))


def niivue_data(scan: Scan, space: LabelSpace) -> list[Mapping[str, Any]]:
    """Return a case's volumes as the page takes them: compressed NIfTI in base64."""
    colormap = json.loads(niivue_colormap(space))
    volumes: dict[str, tuple[np.ndarray | None, dict[str, Any]]] = {
        "image": (scan.hu, {"window": WINDOW_HU}),
        "labels": (scan.labels, {"colormap": colormap}),
        "prediction": (scan.prediction, {"colormap": colormap}),
    }
    return [
        {"name": f"{name}.nii.gz", "base64": _nifti(voxels, scan.spacing_mm), **options}
        for name, (voxels, options) in volumes.items()
        if voxels is not None
    ]


def _nifti(voxels: np.ndarray, spacing_mm: tuple[float, ...]) -> str:
    x, y, z = spacing_mm
    image = Nifti1Image(voxels, np.diag([-x, -y, z, 1.0]))
    return base64.b64encode(igzip.compress(image.to_bytes(), 1)).decode("ascii")
