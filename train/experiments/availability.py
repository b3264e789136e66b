"""Availability: what a training is told of the cases, as edits of the manifest alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.edits import edit
from manifests.errors import TrainingError
from manifests.label_space import LabelSpace
from manifests.manifest import Manifest


@dataclass(frozen=True)
class Edit:
    """One call of `marginalia edit`.

    Attributes:
        drop: Structures whose labels are forgotten.
        merge: Sets of structures that are labelled as one.
        where: The cases, as an SQL condition; empty for all.
    """

    drop: tuple[str, ...] = ()
    merge: tuple[tuple[str, ...], ...] = ()
    where: str = ""


def apply_edits(manifest: Manifest, edits: Sequence[Edit]) -> Manifest:
    """The manifest after all edits, one after the other.

    Raises:
        ManifestError: An edit cannot be made.
    """
    for one in edits:
        manifest = edit(manifest, drop=one.drop, merge=one.merge, where=one.where or None)
    return manifest


def keep_only(
    manifest: Manifest, classes: Sequence[str], datasets: Sequence[str]
) -> tuple[Edit, ...]:
    """The edits after which datasets label some classes and no other.

    Raises:
        TrainingError: The label space has no such class.
    """
    space = manifest.label_space
    dropped = _structures_beside(space, classes)
    chosen = set(datasets or manifest.datasets())
    labelled = {
        structure
        for case in manifest.cases()
        if case.dataset in chosen
        for block in case.blocks
        for structure in block
    }
    if not dropped & labelled:
        return ()
    where = f"dataset in ({', '.join(map(_quoted, sorted(chosen)))})" if datasets else ""
    return (Edit(drop=tuple(sorted(dropped & labelled)), where=where),)


def _structures_beside(space: LabelSpace, classes: Sequence[str]) -> set[str]:
    if unknown := set(classes) - set(space.names[1:]):
        msg = (
            f"no class {', '.join(sorted(unknown))} in the label space {space.name!r}: expected "
            f"some of {', '.join(space.names[1:])}"
        )
        raise TrainingError(msg)
    return {s for c in space.classes if c.name not in classes for s in c.structures}


def _quoted(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
