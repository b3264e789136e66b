"""Availability: what a training is told of the cases, as edits of the manifest alone.

The edits leave the test cases as they are.
"""

from collections.abc import Collection, Iterator, Sequence

from manifests.changes.edits import edit
from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import is_full
from manifests.ground.errors import TrainingError
from manifests.table.manifest import Manifest
from train.experiments.plans.catalogue import Edit, Training
from train.experiments.plans.modified_manifests import hashed_order

NOT_TESTED = "split <> 'test'"


def training_edits(
    manifest: Manifest, training: Training, datasets: Sequence[str]
) -> tuple[Edit, ...]:
    """Return the edits after which the manifest says what a training is told.

    The datasets are those that it learns from; none means all.

    Raises:
        TrainingError: There is no such class, or there are too few fully labelled cases.
    """
    chosen = tuple(datasets or manifest.datasets())
    kept = keep_only(manifest, training.keep, chosen) if training.keep else ()
    single = ()
    if training.single_organ:
        single = tuple(single_organ(manifest, training.single_organ, chosen))
    return (*kept, *single, *training.edits)


def apply_edits(manifest: Manifest, edits: Sequence[Edit]) -> Manifest:
    """Return the manifest after all edits, one after the other.

    Raises:
        ManifestError: An edit cannot be made.
    """
    for one in edits:
        manifest = edit(manifest, drop=one.drop, merge=one.merge, where=one.where or None)
    return manifest


def keep_only(
    manifest: Manifest, classes: Collection[str], datasets: Collection[str]
) -> tuple[Edit, ...]:
    """Return the edits after which datasets label some classes only; none if they do already.

    Raises:
        TrainingError: The label space has no such class.
    """
    dropped = _structures_beside(manifest.label_space, classes)
    labelled = {
        structure
        for case in manifest.cases()
        if case.dataset in datasets and case.split != "test"
        for block in case.blocks
        for structure in block
    }
    forgotten = tuple(sorted(dropped & labelled))
    where = f"dataset in ({_listed(sorted(datasets))}) and {NOT_TESTED}"
    return (Edit(drop=forgotten, where=where),) if forgotten else ()


def single_organ(
    manifest: Manifest, share: tuple[int, int], datasets: Collection[str]
) -> Iterator[Edit]:
    """Return the edits after which some fully labelled training cases label one class only.

    The cases come in an order that their ids alone decide, so that those of a smaller share are
    among those of a larger one; the classes come in turn. One case at least stays as it is. Of
    each n cases of the datasets, k are changed, where the share is (k, n).

    Raises:
        TrainingError: There are no two fully labelled training cases.

    Source: Shi et al. 2021, Table 6.
    """
    full = [
        case.case_id
        for case in manifest.cases()
        if case.dataset in datasets and case.split == "train" and is_full(case.merged)
    ]
    if len(full) < 2:
        msg = (
            f"{len(full)} fully labelled training cases in {', '.join(sorted(datasets))}: expected "
            f"two at least, so that one of them can label one organ only"
        )
        raise TrainingError(msg)
    k, n = share
    count = min(max(1, (2 * k * len(full) + n) // (2 * n)), len(full) - 1)
    chosen = sorted(full, key=hashed_order)[:count]
    names = manifest.label_space.names[1:]
    for i, name in enumerate(names):
        cases = chosen[i :: len(names)]
        if cases:
            dropped = _structures_beside(manifest.label_space, [name])
            yield Edit(drop=tuple(sorted(dropped)), where=f"case_id in ({_listed(sorted(cases))})")


def _structures_beside(space: LabelSpace, classes: Collection[str]) -> set[str]:
    if unknown := set(classes) - set(space.names[1:]):
        msg = (
            f"no class {', '.join(sorted(unknown))} in the label space {space.name!r}: expected "
            f"some of {', '.join(space.names[1:])}"
        )
        raise TrainingError(msg)
    return {s for c in space.classes if c.name not in classes for s in c.structures}


def _listed(names: Sequence[str]) -> str:
    escaped = (name.replace("'", "''") for name in names)
    return ", ".join(f"'{name}'" for name in escaped)
