"""Facts: what the page knows of each case and of all, as plain values for JSON."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.ground.findings import MEANINGS
from manifests.report.results import Results
from manifests.table.case import Case

# Findings that say what was done, and not that a person should look.
NOTED = frozenset(
    {
        *("grid_rounding", "label_reoriented", "axes_oblique", "axes_left_handed", "axes_skewed"),
        *("single_volume_4d", "label_rounded", "padding_clamped", "intensity_clamped"),
        *("dicom_series_chosen", "nothing_annotated", "class_absent", "fused", "same_patient"),
        *("duplicate_image", "related_image", "kidneys_overridden"),
        *("overridden", "reviewed", "mask_missing"),
    }
)
CASES_FOR_OUTLIERS = 10  # of a dataset, before its volumes tell what is usual
MAD_TO_SD = 1.4826  # of a normal distribution


def group_names(merged: Sequence[int], names: Sequence[str]) -> dict[int, str]:
    """Return the name of each foreground group of merged classes, by its representative."""
    groups: dict[int, list[str]] = defaultdict(list)
    for n, representative in enumerate(merged):
        if representative:
            groups[representative].append(names[n])
    return {representative: "+".join(group) for representative, group in sorted(groups.items())}


def case_facts(
    case: Case, space: LabelSpace, outliers: Mapping[str, float], results: Results | None
) -> dict[str, Any]:
    """Return what the page shows of one case.

    Args:
        case: The case.
        space: Its classes.
        outliers: Robust z of the volume of classes, by name, where there is one.
        results: Dice by group of classes, if the report is on results.
    """
    annotated = annotated_classes(case.merged)
    dice = results.dice.get(case.case_id) if results else None
    known = {name: value for name, value in (dice or {}).items() if not math.isnan(value)}
    return {
        "id": case.case_id,
        "dataset": case.dataset,
        "split": case.split or "unassigned",
        "groups": group_names(case.merged, space.names),
        "ml": {space.names[n]: round(case.volume_ml[n], 2) for n in sorted(annotated) if n},
        "outliers": {name: round(z, 1) for name, z in outliers.items()},
        "hu": _rounded(case.foreground_hu_mean),
        "size": case.size,
        "spacing": case.spacing_mm,
        "origin": case.origin_mm,
        "before": case.source_spacing_mm,
        "findings": [[f.code, f.reason, f.code not in NOTED] for f in case.findings],
        "licence": case.licence,
        "label_sha256": case.label_sha256,
        "source_label_sha256": case.source_label_sha256,
        "overrides": [f.reason for f in case.findings if f.code.endswith("overridden")],
        "suspicion": suspicion(case, outliers),
        "dice": {name: round(value, 4) for name, value in known.items()},
        "worst": round(min(known.values()), 4) if known else None,
    }


def suspicion(case: Case, outliers: Mapping[str, float]) -> float:
    """Return by how much a case stands out: 10 for each finding that asks for a look, and |z|.

    It is 0 once a person has looked.
    """
    asked = sum(f.code not in NOTED for f in case.findings)
    if any(f.code == "reviewed" for f in case.findings):
        return 0.0
    return round(10.0 * asked + max(map(abs, outliers.values()), default=0.0), 1)


def volume_outliers(cases: Sequence[Case], space: LabelSpace) -> dict[str, dict[str, float]]:
    """Return the robust z of each annotated and present class's volume, by case id and name.

    z is the distance from the median of log volumes over the dataset, in standard deviations that
    are estimated from the median absolute deviation; there is none below `CASES_FOR_OUTLIERS`.
    """
    volumes: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for case in cases:
        for n in annotated_classes(case.merged):
            if n and case.volume_ml[n] > 0:
                volumes[case.dataset, n][case.case_id] = math.log(case.volume_ml[n])
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (_, n), logs in volumes.items():
        if len(logs) < CASES_FOR_OUTLIERS:
            continue
        middle = median(logs.values())
        spread = MAD_TO_SD * median(abs(value - middle) for value in logs.values())
        for case_id, value in logs.items():
            found[case_id][space.names[n]] = (value - middle) / spread if spread else 0.0
    return found


def page_facts(cases: Sequence[Case], space: LabelSpace) -> dict[str, Any]:
    """Return what holds for all cases: the classes, and the meanings of findings."""
    codes = {f.code for case in cases for f in case.findings}
    return {
        "classes": list(space.names[1:]),
        "meanings": {code: MEANINGS.get(code, "") for code in sorted(codes)},
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 1)
