"""Names of segments in a recipe: expressions, numbers, and codes of SNOMED CT."""

import re
from typing import Annotated

from pydantic import AfterValidator

NUMBER = re.compile(r"#(\d+)")
CODES = re.compile(r"SCT:\d+(\s*\+\s*SCT:\d+)*")


def number_in(name: str) -> int | None:
    """Return the number of a segment or of a ROI that is meant, as by `#3`."""
    match = NUMBER.fullmatch(name)
    return int(match[1]) if match else None


def codes_in(name: str) -> tuple[str, ...]:
    """Return the SNOMED CT codes that are meant, as by `SCT:64033007 + SCT:7771000`."""
    return tuple(re.findall(r"\d+", name)) if CODES.fullmatch(name) else ()


def expression_in(name: str) -> re.Pattern[str]:
    """Return the regular expression of whole names that is meant; capitals do not count."""
    return re.compile(name, re.IGNORECASE)


def _is_usable(name: str) -> str:
    try:
        expression_in(name)
    except (re.error, RecursionError, OverflowError) as error:
        msg = f"{name!r} is not a regular expression that can be used: {error}"
        raise ValueError(msg) from error
    if not name:
        msg = "expected a regular expression of names, #NUMBER, or SCT:CODE; got nothing"
        raise ValueError(msg)
    return name


SegmentName = Annotated[str, AfterValidator(_is_usable)]
