"""MONAI's datalist: a Decathlon-style JSON file, with folds and with who labelled what."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manifests.exports.document import as_text, write_document
from manifests.exports.folds import make_folds
from manifests.exports.selection import ExportedCase, Selection, label_names


def write_datalist(selection: Selection, path: Path, folds: int | None = None) -> None:
    """Write a datalist; its paths are relative to its own folder.

    `load_decathlon_datalist` and Auto3DSeg read it. A case of `training` has the `fold` in which it
    validates; where the manifest has one validation split and no folds, that is fold 0.

    Raises:
        ExportError: There is another file, or there are too few patients for the folds.
    """
    training = [c for c in selection.cases if c.case.split != "test"]
    made = make_folds(training, folds) if training else []
    fold_of = {name: n for n, fold in enumerate(made) for name in fold["val"]}
    document = {
        "name": selection.manifest.label_space.name,
        "modality": {"0": "CT"},
        "labels": {str(value): name for value, name in label_names(selection).items()},
        "numTraining": len(training),
        "training": [
            {**entry, "fold": fold_of.get(c.name, len(made))}
            for c, entry in zip(training, _entries(training, path.parent), strict=True)
        ],
        "testing": _entries([c for c in selection.cases if c.case.split == "test"], path.parent),
    }
    write_document(path, as_text(document))


def _entries(cases: Sequence[ExportedCase], folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "image": _relative(exported.image, folder),
            "label": _relative(exported.label, folder),
            "case_id": exported.case.case_id,
            "dataset": exported.case.dataset,
            "merged": list(exported.case.merged),
            "spacing_mm": list(exported.case.spacing_mm),
        }
        for exported in cases
    ]


def _relative(file: Path, folder: Path) -> str:
    # not `Path.relative_to`, which does not go up
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
