"""The documents of an export to nnU-Net: `dataset.json`, `splits_final.json`, `marginalia.json`."""

import csv
import hashlib
import io
import json
from typing import Any

from manifests.classes.label_space import LabelSpace
from manifests.classes.structures import vocabulary
from manifests.exports.nnunet.plan import NnunetPlan
from manifests.exports.selection import ExportedCase
from manifests.table.dataset_facts import facts_of

FORMAT = "marginalia nnU-Net export 1"
KEY = "marginalia"  # of `dataset.json`; nnU-Net copies keys that it does not know everywhere
# nibabel's plain reader takes axes as they are stored, so that a scan in another orientation than
# the training cases' would be predicted mirrored
READER = "NibabelIOWithReorient"
TABLE_COLUMNS = ("case", "subject", "split")
Document = dict[str, Any]


def dataset_json(plan: NnunetPlan) -> Document:
    """Return what nnU-Net reads, and under a key of ours what our trainer reads."""
    names = plan.manifest.label_space.names
    ignore = {} if plan.ignore_value is None else {"ignore": plan.ignore_value}
    facts = facts_of(plan.manifest.settings)
    used = {c.case.dataset for c in plan.training}
    citations = {f.citation for name, f in facts.items() if name in used}
    return {
        "channel_names": {"0": "CT"},
        "labels": {**{name: n for n, name in enumerate(names)}, **ignore},
        "numTraining": len(plan.training),
        "file_ending": plan.request.file_ending,
        "overwrite_image_reader_writer": READER,
        "licence": "; ".join(sorted({c.case.licence for c in plan.training})),
        "reference": "; ".join(sorted(citations)),
        KEY: who_labelled_what(plan),
    }


def who_labelled_what(plan: NnunetPlan) -> Document:
    """Return what our trainer needs to know of each training case, by its name in nnU-Net."""
    content: Document = {
        "format": FORMAT,
        "merged": {c.name: list(c.case.merged) for c in plan.training},
        "dataset": {c.name: c.case.dataset for c in plan.training},
        "folds": list(plan.folds),
        "sided": _is_sided(plan.manifest.label_space),
    }
    return {**content, "sha256": digest(content)}


def _is_sided(space: LabelSpace) -> bool:
    """Return whether a class is another one in a mirror image from left to right."""
    known = {**vocabulary(), **space.structures}
    return bool(space.left_right_pairs) or any(
        entry.laterality or known[structure].laterality
        for entry in space.classes
        for structure in entry.structures
    )


def digest(content: Document) -> str:
    """Return the SHA-256 of a document without its own entry for it, whatever the order of keys."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def marginalia_json(plan: NnunetPlan) -> Document:
    """Return what nnU-Net has no words for: label space, sources, terms, and who labelled what."""
    facts = facts_of(plan.manifest.settings)
    return {
        "format": FORMAT,
        "software_version": plan.manifest.software_version,
        "partial": plan.request.partial,
        "ignore_value": plan.ignore_value,
        "file_ending": plan.request.file_ending,
        "sha256": who_labelled_what(plan)["sha256"],
        "label_space": plan.manifest.label_space.model_dump(mode="json"),
        "datasets": {name: f.model_dump(mode="json") for name, f in facts.items()},
        "cases": {c.name: _facts_of_case(c) for c in (*plan.training, *plan.test)},
        "left_out": sorted({*plan.left_out, *plan.problems}),
    }


def cases_csv(plan: NnunetPlan) -> str:
    """Return a table of the cases, by which a recipe knows their patients and splits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(TABLE_COLUMNS)
    for exported in (*plan.training, *plan.test):
        case = exported.case
        writer.writerow([exported.name, case.subject_id, case.split or ""])
    return text.getvalue()


def _facts_of_case(exported: ExportedCase) -> Document:
    case = exported.case
    return {
        "case_id": case.case_id,
        "dataset": case.dataset,
        "subject_id": case.subject_id,
        "related": list(case.related),
        "split": case.split,
        "merged": list(case.merged),
        "blocks": [list(block) for block in case.blocks],
        "annotated": list(case.annotated),
        "licence": case.licence,
        "image_sha256": case.image_sha256,
        "label_sha256": case.label_sha256,
    }
