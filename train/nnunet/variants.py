"""Variants of the trainer, named as nnU-Net names its own: what differs, and how many epochs."""

import re
from typing import Any

BASE = "nnUNetTrainerMarginal"
NAME = re.compile(
    rf"{BASE}(?P<exclusion>NoExclusion)?(?P<balanced>Balanced)?(?P<first_stage>FirstStage)?"
    r"(?:_(?P<epochs>[1-9]\d*)epochs?)?"
)


def variant(name: str, base: type) -> type | None:
    """Return the trainer of that name, a class of its own, or None if it is no variant's name.

    `NoExclusion` leaves out the exclusion losses, `Balanced` draws as often from each dataset,
    `FirstStage` begins with the fully labelled cases alone, `_250epochs` trains for 250 epochs.
    """
    found = NAME.fullmatch(name)
    if found is None:
        return None
    attributes: dict[str, Any] = {"__module__": base.__module__, "__doc__": base.__doc__}
    if found["exclusion"]:
        attributes["exclusion"] = False
    for option in ("balanced", "first_stage"):
        if found[option]:
            attributes[option] = True
    if found["epochs"]:
        attributes["epochs"] = int(found["epochs"])
    return type(name, (base,), attributes)
