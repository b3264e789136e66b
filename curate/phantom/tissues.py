"""What the phantom is made of: tissues, the structure each belongs to, and how bright it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRUCTURES = (
    "liver",
    "liver_tumour",
    "spleen",
    "pancreas",
    "pancreas_tumour",
    "left_kidney",
    "left_kidney_tumour",
    "right_kidney",
    "right_kidney_tumour",
    "gallbladder",
    "esophagus",
    "stomach",
    "aorta",
    "inferior_vena_cava",
    "portal_and_splenic_vein",
    "right_adrenal",
    "left_adrenal",
)


@dataclass(frozen=True)
class Tissue:
    """One material.

    Attributes:
        name: Its name; a patient's solids refer to it.
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


# fmt: off
# The body wall and what no solid may paint over comes first; `fat` opens what fills the abdomen.
TISSUES = (
    #      name                   structure                  none  arterial  portal  spread  texture
    Tissue("air",                 "",                       (-1000, -1000, -1000),    0.0,     0.0),
    Tissue("skin_fat",            "",                       ( -105,  -105,  -104),    5.0,     6.0),
    Tissue("muscle",              "",                       (   52,    58,    64),    6.0,     7.0),
    Tissue("marrow",              "",                       (  150,   160,   165),   30.0,    30.0),
    Tissue("cortex",              "",                       (  480,   480,   480),   60.0,    40.0),
    Tissue("disc",                "",                       (   75,    78,    80),    6.0,     4.0),
    Tissue("lung",                "",                       ( -840,  -830,  -830),   25.0,    20.0),
    Tissue("fat",                 "",                       ( -102,  -101,  -100),    5.0,     7.0),
    Tissue("blood",               "",                       (   42,   230,   150),   12.0,     3.0),
    Tissue("bowel_wall",          "",                       (   38,    75,    88),    9.0,     8.0),
    Tissue("bowel_fluid",         "",                       (   18,    20,    22),   12.0,     8.0),
    Tissue("bowel_contrast",      "",                       (  240,   240,   240),   70.0,    20.0),
    Tissue("bowel_gas",           "",                       ( -900,  -900,  -900),   30.0,     0.0),
    Tissue("stool",               "",                       (  -20,   -20,   -18),   40.0,    75.0),
    Tissue("liver",               "liver",                  (   56,    72,   108),   11.0,     4.0),
    Tissue("liver_vessel",        "liver",                  (   44,    84,   150),    8.0,     2.0),
    Tissue("liver_tumour",        "liver_tumour",           (   40,    58,    66),   16.0,    10.0),
    Tissue("spleen",              "spleen",                 (   48,   112,   118),    9.0,     4.0),
    Tissue("pancreas",            "pancreas",               (   38,    98,    92),   12.0,    12.0),
    Tissue("pancreas_tumour",     "pancreas_tumour",        (   32,    52,    60),   18.0,     8.0),
    Tissue("left_kidney",         "left_kidney",            (   32,   165,   178),   14.0,     6.0),
    Tissue("left_medulla",        "left_kidney",            (   30,    80,   160),   14.0,     6.0),
    Tissue("left_kidney_tumour",  "left_kidney_tumour",     (   32,   105,    92),   28.0,    18.0),
    Tissue("right_kidney",        "right_kidney",           (   32,   165,   178),   14.0,     6.0),
    Tissue("right_medulla",       "right_kidney",           (   30,    80,   160),   14.0,     6.0),
    Tissue("right_kidney_tumour", "right_kidney_tumour",    (   32,   105,    92),   28.0,    18.0),
    Tissue("gallbladder",         "gallbladder",            (   10,    10,    11),    7.0,     3.0),
    Tissue("esophagus",           "esophagus",              (   38,    58,    68),    8.0,     6.0),
    Tissue("stomach",             "stomach",                (   40,    72,    84),    9.0,     8.0),
    Tissue("stomach_fluid",       "stomach",                (   20,    21,    22),   14.0,    12.0),
    Tissue("stomach_contrast",    "stomach",                (  230,   230,   230),   70.0,    20.0),
    Tissue("stomach_gas",         "stomach",                ( -900,  -900,  -900),   30.0,     0.0),
    Tissue("aorta",               "aorta",                  (   42,   310,   155),   18.0,     3.0),
    Tissue("vena_cava",           "inferior_vena_cava",     (   42,    85,   132),   14.0,     5.0),
    Tissue("portal_vein",         "portal_and_splenic_vein",(   42,   120,   160),   14.0,     3.0),
    Tissue("right_adrenal",       "right_adrenal",          (   28,    72,    76),   10.0,     4.0),
    Tissue("left_adrenal",        "left_adrenal",           (   28,    72,    76),   10.0,     4.0),
)
# fmt: on

TISSUE_ID = {tissue.name: index for index, tissue in enumerate(TISSUES)}
FIRST_INNER_ID = TISSUE_ID["fat"]  # what is at least this may be painted over


def structure_lookup() -> NDArray[np.uint8]:
    """Return the structure id, 1 + its place in `STRUCTURES` or 0, of each tissue id."""
    ids = {"": 0} | {name: place for place, name in enumerate(STRUCTURES, start=1)}
    return np.array([ids[tissue.structure] for tissue in TISSUES], dtype=np.uint8)
