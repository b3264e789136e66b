"""Modified manifests: other datasets, splits or validation cases, for training and test alike."""

import hashlib
import json

import pyarrow as pa
import pyarrow.compute as pc

from manifests.changes.edits import edit
from manifests.changes.split_request import SplitRequest
from manifests.changes.splits import assign_splits
from manifests.ground.errors import TrainingError
from manifests.table.case import Split
from manifests.table.manifest import Manifest
from train.experiments.plans.catalogue import AnotherSplit, Catalogue, DividedDataset, Training


def modified_manifest(manifest: Manifest, training: Training, catalogue: Catalogue) -> Manifest:
    """Return the cases, datasets and splits that a training and its test have.

    Raises:
        MarginaliaError: A dataset or a class is missing.
    """
    if training.parts:
        manifest = in_parts(manifest, catalogue.parts[training.parts], catalogue)
    if training.another_split:
        manifest = with_another_split(manifest, training.another_split, catalogue)
    return manifest


def in_parts(manifest: Manifest, parts: DividedDataset, catalogue: Catalogue) -> Manifest:
    """Return the parts of a dataset as datasets, each with what it labels, and no other dataset.

    Each split is divided by the parts' shares, in an order that the case ids alone decide.

    Raises:
        TrainingError: The dataset is not there, or the label space does not tell its parts' labels
            apart.

    Source: Shi et al. 2021, Table 9.
    """
    (name,) = catalogue.dataset_names([parts.dataset])
    cases = _cases_of(manifest, name)
    told = {s for part in parts.parts for s in (*part.drop, *(s for m in part.merge for s in m))}
    classes = {manifest.label_space.class_of.get(s, 0) for s in told}
    if 0 in classes or len(classes) < len(told):
        msg = (
            f"the label space {manifest.label_space.name!r} does not distinguish "
            f"{', '.join(sorted(told))}; prepare {name} with --label-space pancreas_tumour"
        )
        raise TrainingError(msg)
    part_of: dict[str, str] = {}
    for split in ("train", "validation", "test"):
        ids = sorted((c.case_id for c in cases.cases() if c.split == split), key=hashed_order)
        part_of |= dict(zip(ids, _dealt(parts, len(ids)), strict=True))
    names = [part_of.get(case.case_id, name) for case in cases.cases()]
    manifest = cases.with_columns({"dataset": names})
    for part in parts.parts:
        if part.drop or part.merge:
            where = f"dataset = '{part.name}'"
            manifest = edit(manifest, drop=part.drop, merge=part.merge, where=where)
    return manifest


def with_another_split(manifest: Manifest, wanted: AnotherSplit, catalogue: Catalogue) -> Manifest:
    """Give one dataset other cases in each split, as many as before; the other datasets stay.

    Raises:
        MarginaliaError: The dataset is not there, or the split would part cases of one subject.

    Source: Shi et al. 2021, Table 11.
    """
    (name,) = catalogue.dataset_names([wanted.dataset])
    alone = _cases_of(manifest, name)
    splits = [case.split for case in alone.cases()]
    tests, validations = splits.count("test"), splits.count("validation")
    again = assign_splits(alone, SplitRequest(test=tests, validation=validations, seed=wanted.seed))
    told = (*manifest.cases(), *again.cases())
    new: dict[str, Split] = {case.case_id: case.split for case in told if case.split}
    return assign_splits(manifest, SplitRequest(given=new))


def selected_on_test(manifest: Manifest) -> Manifest:
    """Return the test cases as validation cases, without those that were for validation.

    Source: Shi et al. 2021, section 4.4: "samples are randomly selected from the testing set".
    """
    other = {"train": "train", "test": "validation"}
    splits = [other.get(case.split or "") for case in manifest.cases()]
    return manifest.with_columns({"split": splits})


def manifest_name(manifest: Manifest) -> str:
    """Return a file name that is equal for equal rows and label spaces."""
    rows = manifest.table.to_pylist()
    text = json.dumps([manifest.label_space.model_dump(), rows], sort_keys=True)
    return f"reproduce-{hashlib.sha256(text.encode()).hexdigest()[:12]}.parquet"


def _dealt(parts: DividedDataset, count: int) -> list[str]:
    """The part of each of so many cases."""
    total, given, names = sum(part.share for part in parts.parts), 0, list[str]()
    for part in parts.parts:
        given += part.share
        names += [part.name] * (round(count * given / total) - len(names))
    return names


def hashed_order(case_id: str) -> bytes:
    """Return what cases are sorted by, so that their order follows from their ids alone."""
    return hashlib.sha256(case_id.encode()).digest()


def _cases_of(manifest: Manifest, name: str) -> Manifest:
    if name not in manifest.datasets():
        msg = f"no dataset {name!r}: the manifest has {', '.join(manifest.datasets())}"
        raise TrainingError(msg)
    of_dataset = pc.equal(manifest.table["dataset"], pa.scalar(name))
    return manifest.with_table(manifest.table.filter(of_dataset))
