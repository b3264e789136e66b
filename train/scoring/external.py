"""Evaluation of a folder of label maps that any program made."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from manifests.ground.errors import MarginaliaError
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from train.patches.mapped_case import open_case, read_target
from train.prediction.scan import reason_of
from train.scoring.case_scores import score_case
from train.scoring.evaluate import CaseResult
from train.scoring.label_mapping import LabelMapping
from train.scoring.label_maps import LabelMapFiles, read_label_map
from train.scoring.metrics import TOLERANCE_MM


def evaluate_label_maps(
    found: LabelMapFiles,
    manifest: Manifest,
    values: LabelMapping,
    *,
    tolerance_mm: float = TOLERANCE_MM,
    jobs: int = 1,
) -> Iterator[CaseResult]:
    """Score label maps, several cases at a time, in the order of the cases.

    Args:
        found: Which file is whose.
        manifest: The cases.
        values: What the values of the label maps mean.
        tolerance_mm: Of NSD.
        jobs: How many cases at a time.

    Returns:
        An iterator over the cases, those without a label map first. A case that fails is reported
        with its reason and does not stop the others.
    """
    for case_id, problem in found.problems.items():
        yield CaseResult(manifest.case(case_id), failure=problem)
    step = partial(_score_file, manifest, values, tolerance_mm)
    # threads: reading, numpy and the tree spend their time outside of Python's lock
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        cases = [manifest.case(case_id) for case_id in found.files]
        yield from pool.map(step, cases, found.files.values())


def _score_file(
    manifest: Manifest, values: LabelMapping, tolerance_mm: float, case: Case, path: Path
) -> CaseResult:
    kept = CaseResult(case, file=str(path.resolve()))
    try:
        prediction, note = read_label_map(path, case, values)
        truth = read_target(open_case(manifest, case))
        scores = score_case(
            prediction,
            truth,
            case,
            manifest.label_space.names,
            known=values.known,
            tolerance_mm=tolerance_mm,
        )
    except (MarginaliaError, RuntimeError, OSError, ValueError, LookupError, MemoryError) as error:
        return CaseResult(case, failure=reason_of(error))
    return replace(kept, scores=scores, note=note)
