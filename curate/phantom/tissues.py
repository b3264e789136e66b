"""What the phantom is made of: tissues, the structure each belongs to, and how bright it is."""

import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.ground.toml_file import StrictModel

FILE = Path(__file__).with_name("tissues.toml")


class Tissue(NamedTuple):
    """One material.

    Attributes:
        structure: The structure that it is a part of, "" for none.
        hu: Hounsfield units without contrast, in the arterial and in the portal venous phase.
        spread_hu: Standard deviation between patients.
        texture_hu: Standard deviation within a patient, at the scale of a centimetre.
    """

    name: str
    structure: str
    hu: tuple[float, float, float]
    spread_hu: float
    texture_hu: float


class _Tissues(StrictModel):
    tissues: tuple[Tissue, ...]


TISSUES = _Tissues.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8"))).tissues
TISSUE_ID = {tissue.name: index for index, tissue in enumerate(TISSUES)}
FIRST_INNER_ID = TISSUE_ID["fat"]  # what is at least this may be painted over
STRUCTURES = tuple(dict.fromkeys(tissue.structure for tissue in TISSUES if tissue.structure))


def structure_lookup() -> NDArray[np.uint8]:
    """Return the structure id, 1 + its place in `STRUCTURES` or 0, of each tissue id."""
    ids = {name: place for place, name in enumerate(("", *STRUCTURES))}
    return np.array([ids[tissue.structure] for tissue in TISSUES], dtype=np.uint8)
