"""The report: a folder with one page, which opens from the file system without a server."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from manifests.classes.label_space import IGNORED, LabelSpace
from manifests.ground.atomic import whole_file, write_text
from manifests.ground.errors import ManifestError, MarginaliaError
from manifests.report.facts import case_facts, page_facts, rare_absences
from manifests.report.niivue import FOLDER as NIIVUE
from manifests.report.niivue import install_niivue, niivue_data
from manifests.report.planes import Scan, strip
from manifests.report.results import Results, read_results
from manifests.report.viewer import viewer_data
from manifests.table.case import Case
from manifests.table.manifest import Manifest
from manifests.table.sql import select_cases
from manifests.volumes.volume import read_volume

FORMAT = 1  # of the pictures: another one makes them anew
PAGE = ("index.html", "report.css", "report.js", "viewer.js")
DATA_FILE = "data.js"
IGNORED_COLOUR = "#808080"
STRIPS, VIEWERS = "strips", "viewers"


@dataclass(frozen=True)
class ReportRequest:
    """What to report on.

    Attributes:
        out: The report's folder.
        where: An SQL condition on the cases.
        run: The folder of a run that was evaluated, or of scores: the report is on its results.
        split: The split of these results.
        viewers: Of how many cases to write the data to scroll through, the most suspicious or
            worst first.
        niivue: Whether these can be opened in NiiVue too.
    """

    manifest: Path
    out: Path
    where: str | None = None
    run: Path | None = None
    split: str = "test"
    viewers: int = 50
    niivue: bool = False


@dataclass(frozen=True)
class ReportedCase:
    """A case, what the page says of it, and its pictures.

    Attributes:
        key: Name of its pictures: of their content, so that what has changed is drawn again.
    """

    case: Case
    facts: dict[str, Any]
    key: str
    viewer: bool


@dataclass(frozen=True)
class Report:
    """A report that is planned, with its cases in the order of the page.

    Attributes:
        identity: Tells it from other reports, which share a browser's store.
    """

    manifest: Manifest
    out: Path
    cases: tuple[ReportedCase, ...]
    results: Results | None
    name: str
    identity: str
    niivue: bool


def plan_report(request: ReportRequest) -> Report:
    """Choose the cases of a report, and sort them: worst or most suspicious first.

    Raises:
        ManifestError: The manifest, the condition or the results cannot be used, or no case is
            left.
    """
    results = None if request.run is None else read_results(request.run, request.split)
    with select_cases(request.manifest, request.where) as selected:
        manifest = selected.head
        rows = manifest.with_table(selected.connection.table("cases").to_arrow_table())
    cases = [c for c in rows.cases() if results is None or c.case_id in results.dice]
    if not cases:
        msg = f"{request.manifest}: no case is left to report on" + (
            "" if results is None else f"; {results.folder} has scores of none of them"
        )
        raise ManifestError(msg)
    space, rare = manifest.label_space, rare_absences(cases, manifest.label_space)
    facts = [case_facts(c, space, results, odd_absences=rare.get(c.case_id, ())) for c in cases]
    order = sorted(range(len(cases)), key=lambda n: _rank(facts[n]))
    return Report(
        manifest=manifest,
        out=request.out,
        cases=tuple(
            ReportedCase(cases[n], facts[n], _key(cases[n], results), place < request.viewers)
            for place, n in enumerate(order)
        ),
        results=results,
        name=(request.run or request.manifest).resolve().name,
        identity=_short_hash(request.manifest.resolve(), request.run and request.run.resolve()),
        niivue=request.niivue,
    )


def write_report(report: Report) -> Iterator[str]:
    """Draw the cases one by one, and write the page at last.

    Pictures that are there already stay: the same command takes up where it was stopped. A case
    that cannot be drawn stays in the list.

    Yields:
        Of each case why it has no picture; empty if it has one.

    Raises:
        MarginaliaError: The report's folder cannot be made.
    """
    if report.niivue:
        install_niivue(report.out)
    try:
        report.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{report.out} cannot be a folder: {error}; choose another one with --out"
        raise MarginaliaError(msg) from error
    problems: dict[str, str] = {}
    for reported in report.cases:
        try:
            _draw(report, reported)
            problem = ""
        except Exception as error:  # one bad case never ends the report
            problem = f"{reported.case.case_id}: not drawn: {_words(error)}"
            problems[reported.case.case_id] = problem
        yield problem
    _write_page(report, problems)


def _words(error: Exception) -> str:
    """Return a message that was written for readers as it is, and any other with its kind."""
    return str(error) if isinstance(error, MarginaliaError) else repr(error)


def _rank(facts: Mapping[str, Any]) -> tuple[float, float, str]:
    worst = facts["worst"]
    return (2.0 if worst is None else worst, -facts["suspicion"], facts["id"])


def _key(case: Case, results: Results | None) -> str:
    predicted = "" if results is None else results.state(case.case_id)
    return _short_hash(
        case.case_id, case.image_sha256, case.label_sha256, case.merged, predicted, FORMAT
    )


def _short_hash(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def _draw(report: Report, reported: ReportedCase) -> None:
    """Write the files of a case that are not there yet."""
    space, key = report.manifest.label_space, reported.key
    picture = report.out / STRIPS / f"{key}.webp"
    data = report.out / VIEWERS / f"{key}.js"
    volumes = report.out / NIIVUE / f"{key}.js"
    wanted = [picture]
    if reported.viewer:
        wanted += [data, volumes] if report.niivue else [data]
    missing = {path for path in wanted if not path.is_file()}
    if not missing:
        return
    scan = _scan(report.manifest, reported.case, report.results)
    if picture in missing:
        with whole_file(picture) as temporary:
            temporary.write_bytes(strip(scan, _colours(space)))
    if data in missing:
        write_text(data, f"marginaliaVolume({_script(key)}, {_script(viewer_data(scan))});")
    if volumes in missing:
        write_text(volumes, f"marginaliaNiivue({_script(niivue_data(scan, space))});")


def _scan(manifest: Manifest, case: Case, results: Results | None) -> Scan:
    merged = np.arange(256, dtype=np.uint8)
    merged[: len(case.merged)] = case.merged
    hu, labels = (read_volume(manifest.path(name)).voxels.T for name in (case.image, case.label))
    predicted = None if results is None else results.prediction(case.case_id, case.size)
    return Scan(hu.astype(np.int16), merged[labels.astype(np.uint8)], predicted, case.spacing_mm)


def _colours(space: LabelSpace) -> dict[int, str]:
    colours = {n: entry.colour for n, entry in enumerate(space.classes, start=1)}
    return {**colours, IGNORED: IGNORED_COLOUR}


def _write_page(report: Report, problems: Mapping[str, str]) -> None:
    rows = [
        {
            **reported.facts,
            "key": reported.key,
            "viewer": reported.viewer and reported.case.case_id not in problems,
            "problem": problems.get(reported.case.case_id, ""),
        }
        for reported in report.cases
    ]
    facts = {
        "report": report.identity,
        "name": report.name,
        "results": report.results is not None,
        "niivue": report.niivue,
        "colours": _colours(report.manifest.label_space),
        **page_facts([r.case for r in report.cases], report.manifest.label_space),
        "cases": rows,
    }
    for name in PAGE:
        source = files("manifests.report").joinpath("page", name)
        write_text(report.out / name, source.read_text(encoding="utf-8"))
    write_text(report.out / DATA_FILE, f"marginaliaReport({_script(facts)});")


def _script(value: object) -> str:
    """Return JSON that may stand in a script: no text of a file can end the script."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII only
    return text.replace("<", "\\u003c")
