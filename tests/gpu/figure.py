"""One figure of the GPU run, and what a section is told."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """What was measured or checked; `met` is None where there is no goal."""

    what: str
    value: float | str
    unit: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def shown(self) -> str:
        """The value with its unit."""
        text = self.value if isinstance(self.value, str) else f"{self.value:.4g}"
        return f"{text} {self.unit}".strip()


@dataclass(frozen=True)
class Bench:
    """Where to measure: `seconds` are what is left of the whole run."""

    device: str
    quick: bool
    folder: Path
    seconds: float

    @property
    def is_gpu(self) -> bool:
        """Whether there is a GPU to measure."""
        return self.device.startswith("cuda")


@dataclass(frozen=True)
class Section:
    """Some figures that are measured in one process, and its limit."""

    name: str
    run: Callable[[Bench], Iterator[Figure]]
    seconds: float


def at_most(what: str, value: float, most: float, unit: str = "") -> Figure:
    """A figure with an upper goal."""
    return Figure(what, value, unit, f"at most {most:g} {unit}".strip(), value <= most)


def at_least(what: str, value: float, least: float, unit: str = "") -> Figure:
    """A figure with a lower goal."""
    return Figure(what, value, unit, f"at least {least:g} {unit}".strip(), value >= least)


def holds(what: str, value: float | str, goal: str, *, met: bool) -> Figure:
    """A figure that is right or wrong."""
    return Figure(what, value, "", goal, met)
