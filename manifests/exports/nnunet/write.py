"""Writing an export to nnU-Net; the same call again does what is left."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from manifests.exports.document import as_text, refuse_changed, write_document
from manifests.exports.nnunet.documents import cases_csv, dataset_json, marginalia_json
from manifests.exports.nnunet.plan import CHANNEL, NnunetPlan
from manifests.exports.selection import ExportedCase
from manifests.exports.volume_file import export_volume
from manifests.ground.errors import ExportError

SPLITS = "splits_final.json"
DATASET = "dataset.json"
ABOUT = "marginalia.json"
TABLE = "cases.csv"


@dataclass(frozen=True)
class Written:
    """One case that was written, or why it was not."""

    case_id: str
    problem: str = ""


def write_cases(plan: NnunetPlan) -> Iterator[Written]:
    """Write the volumes of each case; one that fails does not end the others."""
    folder, ending = plan.request.folder, plan.request.file_ending
    for suffix, cases in (("Tr", plan.training), ("Ts", plan.test)):
        for exported in cases:
            image = folder / f"images{suffix}" / f"{exported.name}{CHANNEL}{ending}"
            label = folder / f"labels{suffix}" / f"{exported.name}{ending}"
            values = plan.values_of(exported) if suffix == "Tr" else None
            try:
                export_volume(exported.image, image)
                export_volume(exported.label, label, values)
            except (ExportError, OSError) as error:
                yield Written(exported.case.case_id, str(error))
            else:
                yield Written(exported.case.case_id)


def write_documents(plan: NnunetPlan, preprocessed: Path | None = None) -> None:
    """Write the documents; one that stands there with the same content is left.

    Args:
        plan: What was written.
        preprocessed: nnU-Net's folder of preprocessed data: `splits_final.json` is written to the
            dataset's folder there too, where nnU-Net looks for it.

    Raises:
        ExportError: A document exists with another content.
    """
    folder = plan.request.folder
    texts = {
        folder / SPLITS: as_text(plan.folds),
        folder / ABOUT: as_text(marginalia_json(plan)),
        folder / TABLE: cases_csv(plan),
        folder / DATASET: as_text(dataset_json(plan)),  # last: with it, the dataset is whole
    }
    if preprocessed is not None:
        texts[preprocessed / folder.name / SPLITS] = texts[folder / SPLITS]
    for path, text in sorted(texts.items(), key=lambda item: item[0] != folder / DATASET):
        refuse_changed(path, text)
    for path, text in texts.items():
        write_document(path, text)


def without(plan: NnunetPlan, problems: dict[str, str]) -> NnunetPlan:
    """Return a plan without the cases that could not be written."""

    def kept(cases: tuple[ExportedCase, ...]) -> tuple[ExportedCase, ...]:
        return tuple(c for c in cases if c.case.case_id not in problems)

    gone = {c.name for c in (*plan.training, *plan.test) if c.case.case_id in problems}
    folds = tuple(
        {side: [name for name in names if name not in gone] for side, names in fold.items()}
        for fold in plan.folds
    )
    return replace(
        plan,
        training=kept(plan.training),
        test=kept(plan.test),
        folds=folds,
        problems={**plan.problems, **problems},
    )
