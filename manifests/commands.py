"""The commands inspect, report, validate, split, edit and diff."""

from pathlib import Path
from typing import Annotated

import typer

from manifests.exports.commands import Filter, ManifestPath
from manifests.ground.list_command import ListCommand
from manifests.spaces import commands as space_commands

app = typer.Typer(help="Manifests: who labelled what.", no_args_is_help=True)
app.add_typer(space_commands.app, name="label-space")

PROBLEMS_FOUND = 3  # exit status
OF_FILES = ("image", "label", "image_sha256", "label_sha256")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def inspect(
    manifest: ManifestPath,
    case: Annotated[str | None, typer.Option(help="Show all details of this case.")] = None,
    where: Filter = None,
    as_json: AsJson = False,
) -> None:
    """Show what a manifest holds: datasets, classes, splits, geometry and findings."""
    from manifests.table.sql import select_cases
    from manifests.table.summary import summarise
    from manifests.views.case_view import case_json, case_view
    from manifests.views.filter_hints import filter_hints
    from manifests.views.tables import summary_view

    with select_cases(manifest, where) as cases:
        space = cases.head.label_space
        if case is not None:
            found = cases.case(case)
            _show(case_json(found, space) if as_json else case_view(found, space))
            return
        summary = summarise(cases)
        if where is not None and not summary.cases and not as_json:
            _show(filter_hints(cases, where))
            return
    _show(summary.to_json() if as_json else summary_view(summary, space))


@app.command()
def report(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")],
    *,
    where: Filter = None,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Report on the results of this run, worst first: its folder, or one of scores.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="The split whose results are meant.")] = "test",
    viewers: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of how many cases to write the volume to scroll through (0.3 to 1 MB each), "
            "the most suspicious or worst first.",
        ),
    ] = 50,
    niivue: Annotated[
        bool,
        typer.Option("--niivue", help="Let these cases be opened in NiiVue too (5 to 20 MB each)."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the order of cases.")] = False,
) -> None:
    """Write pages to look through the cases with, by double click: pictures, charts, verdicts."""
    from rich.progress import track

    from manifests.report.report import ReportRequest, plan_report, write_report

    request = ReportRequest(
        manifest=manifest,
        out=out,
        where=where,
        run=run,
        split=split,
        viewers=viewers,
        niivue=niivue,
    )
    planned = plan_report(request)
    if dry_run:
        for reported in planned.cases:
            _show(f"{reported.case.case_id}  suspicion {reported.facts['suspicion']}")
        return
    problems = track(write_report(planned), "drawing", total=len(planned.cases), transient=True)
    not_drawn = 0
    for problem in filter(None, problems):
        _show(problem)
        not_drawn += 1
    _show(f"{len(planned.cases)} cases: open {out / 'index.html'} in a browser")
    if not_drawn:
        _show(f"{not_drawn} of them could not be drawn")
        raise typer.Exit(PROBLEMS_FOUND)


@app.command()
def validate(
    manifest: ManifestPath,
    hashes: Annotated[
        bool, typer.Option("--hashes", help="Read every volume and compare its hash.")
    ] = False,
) -> None:
    """List the errors in a manifest, with exit code 3 if there are any."""
    from manifests.table.manifest import read_manifest
    from manifests.table.validate import validate as find_problems
    from manifests.views.tables import problems_table

    problems = find_problems(manifest, hashes=hashes)
    if problems:
        _show(problems_table(problems))
        if any(p.column in OF_FILES for p in problems):
            _show("`marginalia prepare` with its options and --verify makes damaged cases again")
        raise typer.Exit(PROBLEMS_FOUND)
    _show(f"{len(read_manifest(manifest, ['case_id']))} cases, no problem")


@app.command(cls=ListCommand)
def split(
    manifest: ManifestPath,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CASES,...", help="Test cases of every dataset (0.2 or 6), or of one (btcv=6)."
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="CASES,...", help="Validation cases, in the same form."),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A published split: paper.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the choice of cases.")] = 0,
    given: Annotated[
        Path | None,
        typer.Option(help="Your own split: a CSV file with the columns case_id and split."),
    ] = None,
    official: Annotated[
        bool, typer.Option("--official", help="The publishers' splits, from the datasets' tables.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, max=100, help="Deal the cases that are not for the test into folds, by patient."
        ),
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Hold out a share of each value of this column, as table_site."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take a given split though it parts a patient's cases.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file, not in place.")] = None,
) -> None:
    """Assign train, validation and test splits by dataset; each patient is in only one split."""
    from rich.text import Text

    from manifests.changes.given_split import official_split, read_given_split
    from manifests.changes.split_request import request_from_words
    from manifests.changes.split_words import left_for_training
    from manifests.changes.splits import COLUMNS, assign_splits, deal_anew
    from manifests.table.manifest import manifest_file, read_manifest
    from manifests.table.row_groups import rewrite, with_column
    from manifests.table.sql import select_cases
    from manifests.table.summary import summarise
    from manifests.views.folds_view import folds_view
    from manifests.views.tables import splits_table

    source = manifest_file(manifest)
    read = read_manifest(source, COLUMNS)
    request = request_from_words(
        read.datasets(),
        test=test or (),
        validation=validation or (),
        preset=preset,
        seed=seed,
        given=official_split(source) if official else given and read_given_split(given),
        folds=folds or 0,
        stratify=stratify,
        force=force,
    )
    assign = assign_splits if test or validation or preset or request.given else deal_anew
    assigned = assign(with_column(read, source, stratify) if stratify else read, request)
    rewrite(source, assigned.with_table(assigned.table.select(COLUMNS)), out or source)
    with select_cases(out or source) as cases:
        _show(splits_table(summarise(cases), request))
    if folds:
        _show(folds_view(assigned))
        return
    for line in left_for_training(read_manifest(out or source, COLUMNS)):
        _show(Text(line))  # which wraps at the terminal's width


@app.command(cls=ListCommand)
def edit(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option(help="The new manifest, in the same folder as the old one.")],
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Treat these structures as unlabelled."),
    ] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(help="Merge these structures (pancreas,pancreas_tumour). Repeatable."),
    ] = None,
    where: Filter = None,
) -> None:
    """Drop or merge annotations in the manifest, without changing any label file."""
    from manifests.changes.edits import COLUMNS
    from manifests.changes.edits import edit as edit_cases
    from manifests.ground.errors import ManifestError
    from manifests.table.manifest import manifest_file, read_manifest
    from manifests.table.row_groups import rewrite
    from manifests.table.sql import select_cases
    from manifests.table.summary import summarise
    from manifests.views.tables import summary_view

    source = manifest_file(manifest)
    if out.resolve() == source.resolve():
        msg = (
            f"{out} is the manifest to be edited, and what is dropped would be lost; choose "
            f"another name in its folder, as {source.with_name('edited.parquet')}"
        )
        raise ManifestError(msg)
    groups = [[name.strip() for name in group.split(",")] for group in merge or ()]
    read = read_manifest(source, COLUMNS)
    edited = edit_cases(read, drop=drop or (), merge=groups, where=where, source=source)
    rewrite(source, edited, out)
    with select_cases(out) as cases:
        _show(summary_view(summarise(cases), cases.head.label_space))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A manifest, or its folder.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The manifest to compare it with.")],
    as_json: AsJson = False,
) -> None:
    """Show how the cases of two manifests differ."""
    from manifests.changes.diff import diff as compare
    from manifests.views.diff_view import diff_view

    found = compare(old, new, examples=None if as_json else 1)
    _show(found.to_json() if as_json else diff_view(found))


def _show(view: object) -> None:
    from rich.console import Console

    if isinstance(view, str):
        typer.echo(view)
    else:
        Console().print(view)
