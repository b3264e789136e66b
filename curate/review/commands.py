"""The command: review."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from curate.review.verdicts import Verdict

app = typer.Typer()


@app.command()
def review(
    manifest: Annotated[Path, typer.Argument(help="The manifest that the report was on.")],
    verdicts: Annotated[
        list[Path], typer.Argument(help="Files of verdicts, saved from the report by reviewers.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="TOML file to write, for prepare --overrides.")
    ],
    *,
    overrides: Annotated[
        Path | None,
        typer.Option(help="Earlier overrides, which stay where no verdict replaces them."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that exists.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
) -> None:
    """Join what several reviewers said in the report, into overrides for `prepare`.

    The latest verdict of each reviewer counts. Where reviewers disagree, nothing is decided.
    """
    from curate.cases.overrides import load_overrides
    from curate.review.review import as_toml, join_verdicts
    from curate.review.verdicts import read_verdicts
    from manifests.ground.atomic import write_text
    from manifests.table.manifest import read_manifest

    if out.exists() and out != overrides and not (force or dry_run):
        msg = f"{out} exists and is left as it is: choose another file, or write over it: --force"
        raise typer.BadParameter(msg, param_hint="'--out'")
    read = read_verdicts(verdicts)
    wanted = {v.case_id for v in read}
    cases = {c.case_id: c for c in read_manifest(manifest).cases() if c.case_id in wanted}
    found = join_verdicts(read, cases, load_overrides(overrides) if overrides else {})
    _list("settled", found.settled)
    _list("doubts, about which nothing is decided", found.doubts)
    _list("reviewers disagree, and nothing is decided", found.disagreements)
    _list("the label is another one by now: look again", found.outdated)
    _list("not in the manifest", found.unknown)
    if dry_run:
        return
    write_text(out, as_toml(found.overrides))
    typer.echo(f"{len(found.overrides)} overrides: marginalia prepare ... --overrides {out}")


def _list(title: str, verdicts: Sequence["Verdict"]) -> None:
    if verdicts:
        typer.echo(f"{title}:")
    for verdict in verdicts:
        typer.echo(f"  {verdict.case_id}: {verdict.words}")
