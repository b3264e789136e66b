"""Who labelled what, as `marginalia export nnunet` wrote it into `dataset.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from manifests.classes.merged import groups_of, is_full, is_merged
from manifests.exports.folds import Fold
from manifests.exports.nnunet.documents import FORMAT, KEY, digest
from manifests.ground.errors import TrainingError, explain

EXPORT = "`marginalia export nnunet`"
Merged = tuple[int, ...]
Group = tuple[int, ...]  # class ids


class Annotations(BaseModel):
    """What the export says of each training case, by its name in nnU-Net.

    Attributes:
        merged: Each class's representative.
        dataset: Where the case comes from.
        folds: Those of `splits_final.json`.
        sided: Whether a class has a side, so that a mirror image from left to right is another.
        sha256: Names all of this.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    merged: dict[str, Merged]
    dataset: dict[str, str]
    folds: tuple[Fold, ...]
    sided: bool
    sha256: str

    @property
    def fused(self) -> tuple[Group, ...]:
        """Return the foreground groups of several classes that some case has."""
        groups = {g for m in set(self.merged.values()) for g in groups_of(m).values()}
        return tuple(sorted(g for g in groups if len(g) > 1 and g[0] > 0))

    @property
    def full(self) -> tuple[str, ...]:
        """Return the fully labelled cases."""
        return tuple(name for name, merged in self.merged.items() if is_full(merged))


def annotated_groups(merged: Merged) -> tuple[Group, ...]:
    """Return the foreground groups that a case tells apart from all else."""
    return tuple(group for r, group in groups_of(merged).items() if r > 0)


def read_annotations(dataset_json: Mapping[str, Any], *, classes: int) -> Annotations:
    """Read what nnU-Net carried along in its `dataset.json`.

    Raises:
        TrainingError: It is not there, was changed, or does not fit the classes.
    """
    content = dataset_json.get(KEY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        msg = (
            f"dataset.json does not say who labelled what: expected the key {KEY!r} of {EXPORT} "
            f"({FORMAT!r}); export the dataset with it, and run nnUNetv2_plan_and_preprocess"
        )
        raise TrainingError(msg)
    if content.get("sha256") != digest(content):
        msg = f"{KEY!r} in dataset.json was changed by hand; export the dataset again with {EXPORT}"
        raise TrainingError(msg)
    try:
        annotations = Annotations.model_validate(content)
    except ValidationError as error:
        raise TrainingError(explain(error, f"{KEY!r} in dataset.json")) from error
    for name, merged in annotations.merged.items():
        if len(merged) != classes or not is_merged(merged):
            msg = f"dataset.json: {name}: expected {classes} representatives, got {merged}"
            raise TrainingError(msg)
    return annotations


def refuse_stale(annotations: Annotations, raw: Path, used: Path) -> None:
    """Refuse to train if the dataset was exported again since it was planned.

    Args:
        annotations: As read from `used`.
        raw: The `dataset.json` of the export; one that is not there is no reason to refuse.
        used: The copy that planning made.

    Raises:
        TrainingError: The two say different things.
    """
    try:
        exported = json.loads(raw.read_text(encoding="utf-8"))[KEY]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if exported != annotations.sha256:
        msg = (
            f"{raw} was exported again since nnU-Net planned with {used}: they say different "
            f"things of who labelled what; if only the annotations changed, copy the first over "
            f"the second, otherwise run nnUNetv2_plan_and_preprocess again"
        )
        raise TrainingError(msg)
