"""The five datasets that the phantom is published as: how each is scanned and how large it is."""

import tomllib
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from curate.phantom.solid_organs import TumourChance
from manifests.ground.toml_file import StrictModel

FILE = Path(__file__).with_name("datasets.toml")

Range = tuple[float, float]


class ScanProtocol(StrictModel):
    """How a dataset's patients are scanned; datasets.toml says what each key means."""

    phases: tuple[float, float, float]
    noise_hu: Range
    noise_mm: float
    blur_mm: float
    offset_hu: float
    padding_hu: float | None = None
    tumour_chance: TumourChance
    field_mm: Range
    slice_mm: Range
    top_mm: Range
    bottom_mm: Range


class DecathlonTask(StrictModel):
    """What differs between the Decathlon's tasks; datasets.toml says what each key means."""

    folder: str
    stem: str
    digits: int
    numbers: tuple[int, int, int]
    axes: tuple[str, ...]
    image_types: tuple[str, ...]
    label_types: tuple[str, ...]
    facts: dict[str, str]
    labels: tuple[str, ...]


class PhantomDataset(StrictModel):
    """One dataset; `decathlon` is none where it is not one of the Decathlon's."""

    capacity: int
    default_cases: int
    protocol: ScanProtocol
    decathlon: DecathlonTask | None = None


@cache
def phantom_datasets() -> dict[str, PhantomDataset]:
    """Return the datasets by the names of their recipes."""
    facts = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, PhantomDataset]).validate_python(facts)
