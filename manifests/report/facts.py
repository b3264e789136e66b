"""Facts: what the page knows of each case and of all, as plain values for JSON."""

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.ground.findings import MEANINGS, Finding
from manifests.report.results import Results
from manifests.table.case import Case

# Findings that say what was done, and not that a person should look.
NOTED = frozenset(
    {
        *("grid_rounding", "label_reoriented", "axes_oblique", "axes_left_handed", "axes_skewed"),
        *("single_volume_4d", "label_rounded", "padding_clamped", "intensity_clamped"),
        *("dicom_series_chosen", "nothing_annotated", "fused", "same_patient"),
        *("duplicate_image", "related_image", "kidneys_overridden"),
        *("overridden", "reviewed", "mask_missing", "label_cropped"),
    }
)
CASES_FOR_RARE, RARE = 5, 0.2  # of the cases that annotate a class: absent in so few is odd


def rare_absences(cases: Sequence[Case], space: LabelSpace) -> dict[str, set[str]]:
    """Return the case ids by class that a case lacks though nearly all of its dataset have it."""
    annotating: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for case in cases:
        for n in annotated_classes(case.merged):
            annotating[case.dataset, n].append(case)
    found: dict[str, set[str]] = defaultdict(set)
    for (_, n), members in annotating.items():
        absent = [case.case_id for case in members if n and not case.voxels[n]]
        if len(members) >= CASES_FOR_RARE and len(absent) <= RARE * len(members):
            for case_id in absent:
                found[case_id].add(space.names[n])
    return found


def group_names(merged: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Return the name of each foreground group of merged classes, by its representative."""
    groups: dict[int, list[str]] = defaultdict(list)
    for n, representative in enumerate(merged):
        if representative:
            groups[representative].append(names[n])
    return {representative: "+".join(group) for representative, group in sorted(groups.items())}


def case_facts(
    case: Case, space: LabelSpace, results: Results | None, *, odd_absences: Collection[str] = ()
) -> dict[str, Any]:
    """Return what the page shows of one case, with its Dice if the report is on results."""
    asks = [_asks(f, odd_absences) for f in case.findings]
    annotated = annotated_classes(case.merged)
    dice = results.dice.get(case.case_id) if results else None
    known = {name: value for name, value in (dice or {}).items() if not math.isnan(value)}
    return {
        "id": case.case_id,
        "dataset": case.dataset,
        "split": case.split or "unassigned",
        "groups": group_names(case.merged, space.names),
        "ml": {space.names[n]: round(case.volume_ml[n], 2) for n in sorted(annotated) if n},
        "hu": _by_name(case.class_hu_mean, space, 1),
        "z": _by_name(case.robust_z, space, 1),
        "odd": _by_name(case.suspicion, space, 2),
        "size": case.size,
        "spacing": case.spacing_mm,
        "origin": case.origin_mm,
        "before": case.source_spacing_mm,
        "findings": [[f.code, f.reason, a] for f, a in zip(case.findings, asks, strict=True)],
        "licence": case.licence,
        "label_sha256": case.label_sha256,
        "source_label_sha256": case.source_label_sha256,
        "overrides": [f.reason for f in case.findings if f.code.endswith("overridden")],
        "suspicion": suspicion(case, sum(asks)),
        "dice": {name: round(value, 4) for name, value in known.items()},
        "worst": round(min(known.values()), 4) if known else None,
    }


def _asks(finding: Finding, odd_absences: Collection[str]) -> bool:
    """Tell whether a person should look at a case because of a finding."""
    if finding.code == "class_absent":
        return any(finding.reason.startswith(f"{name} ") for name in odd_absences)
    return finding.code not in NOTED


def suspicion(case: Case, asked: int) -> float:
    """Return by how much a case stands out: the findings that ask for a look, and more.

    The rest is the largest suspicion of its labels; it is 0 once a person has looked.
    """
    if any(f.code == "reviewed" for f in case.findings):
        return 0.0
    labels = [value for value in case.suspicion or () if value is not None]
    return round(asked + max(labels, default=0.0), 2)


def _by_name(
    values: Sequence[float | None] | None, space: LabelSpace, digits: int
) -> dict[str, float]:
    known = ((n, v) for n, v in enumerate(values or ()) if v is not None and not math.isnan(v))
    return {space.names[n]: round(value, digits) for n, value in known}


def page_facts(cases: Sequence[Case], space: LabelSpace) -> dict[str, Any]:
    """Return what holds for all cases: the classes, and the meanings of findings."""
    codes = {f.code for case in cases for f in case.findings}
    return {
        "classes": list(space.names[1:]),
        "meanings": {code: MEANINGS.get(code, "") for code in sorted(codes)},
    }
