"""The commands of `export` that need no network."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from manifests.exports.nnunet.plan import NnunetPlan

app = typer.Typer()

Step = TypeVar("Step")

SOME_FAILED_EXIT_CODE = 3
SHOWN = 20

ManifestPath = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST", help="A manifest, or a folder with a manifest.parquet."),
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="An SQL condition on the columns, such as "
        "\"dataset = 'btcv' and list_contains(annotated, 'liver')\".",
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Make so many folds by patient. Default: the manifest's folds, or else its "
        "validation split, or else 5.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and stop.")]


@app.command()
def nnunet(
    manifest: ManifestPath,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="The new dataset: $nnUNet_raw/DatasetNNN_Name."),
    ],
    where: Filter = None,
    partial: Annotated[
        Literal["trainer", "ignore", "leave-out"],
        typer.Option(
            help="Partly labelled cases: as they are, for nnUNetTrainerMarginal; with nnU-Net's "
            "ignore value; or left out."
        ),
    ] = "trainer",
    compress: Annotated[
        bool, typer.Option("--compress", help="Write .nii.gz files, not hard links to .nii.")
    ] = False,
    folds: Folds = None,
    preprocessed: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            envvar="nnUNet_preprocessed",
            help="Write splits_final.json below this folder too, where nnU-Net reads it.",
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Write a dataset that nnU-Net can plan, preprocess and train on."""
    from manifests.exports.nnunet.plan import NnunetRequest, plan_nnunet
    from manifests.exports.nnunet.write import without, write_cases, write_documents
    from manifests.exports.selection import select_for_export

    request = NnunetRequest(out, partial, compress, folds)
    plan = plan_nnunet(select_for_export(manifest, where), request)
    _say_plan(plan)
    if not dry_run:
        found = _progress(write_cases(plan), len(plan.training) + len(plan.test))
        plan = without(plan, {w.case_id: w.problem for w in found if w.problem})
        write_documents(plan, preprocessed)
        _say(f"written: {out}")
        _say_next(plan, preprocessed)
    _end_with_problems(plan.problems)


@app.command()
def monai(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The new datalist, a JSON file.")],
    where: Filter = None,
    folds: Folds = None,
) -> None:
    """Write a datalist for MONAI: load_decathlon_datalist and Auto3DSeg read it."""
    from manifests.exports.monai import write_datalist
    from manifests.exports.selection import select_for_export

    selection = select_for_export(manifest, where)
    write_datalist(selection, out, folds)
    _say(f"written: {out}, {len(selection.cases)} cases")
    _end_with_problems(selection.problems)


@app.command()
def croissant(
    manifest: ManifestPath,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The new JSON-LD file, in the folder of the manifest."),
    ],
    where: Filter = None,
) -> None:
    """Describe the cases in Croissant, one record for each case."""
    from manifests.exports.croissant import write_croissant
    from manifests.exports.selection import select_for_export

    selection = select_for_export(manifest, where)
    write_croissant(selection, manifest, out)
    _say(f"written: {out}, {len(selection.cases)} records")
    _end_with_problems(selection.problems)


@app.command()
def bids(
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new BIDS dataset.")],
    where: Filter = None,
) -> None:
    """Write the cases as BIDS derivatives, the labels as dseg files."""
    from manifests.exports.bids import write_bids
    from manifests.exports.selection import select_for_export

    selection = select_for_export(manifest, where)
    found = dict(_progress(write_bids(selection, out), len(selection.cases)))
    _say(f"written: {out}")
    _end_with_problems({**selection.problems, **{c: p for c, p in found.items() if p}})


def _say_plan(plan: "NnunetPlan") -> None:
    from manifests.classes.merged import is_full

    partly = sum(not is_full(c.case.merged) for c in plan.training)
    _say(
        f"{len(plan.training)} training cases, {partly} of them partly labelled; "
        f"{len(plan.test)} test cases; folds: {len(plan.folds)}"
    )
    if plan.left_out:
        _say(f"left out, being partly labelled: {len(plan.left_out)} cases")


def _say_next(plan: "NnunetPlan", preprocessed: Path | None) -> None:
    number = plan.request.folder.name.removeprefix("Dataset")[:3]
    _say(f"next: nnUNetv2_plan_and_preprocess -d {number} --verify_dataset_integrity")
    if plan.request.partial == "trainer":
        _say("      export nnUNet_extTrainer=$(marginalia export trainer-path)")
        _say(f"      nnUNetv2_train {number} 3d_fullres 0 -tr nnUNetTrainerMarginal")
    elif preprocessed is None:
        name = plan.request.folder.name
        _say(f"      cp {plan.request.folder}/splits_final.json $nnUNet_preprocessed/{name}/")


def _progress(steps: "Iterable[Step]", total: int) -> "list[Step]":
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    quiet = not console.is_terminal
    return list(track(steps, "cases", total, console=console, disable=quiet))


def _end_with_problems(problems: dict[str, str]) -> None:
    for case_id, problem in list(problems.items())[:SHOWN]:
        _say(f"not exported: {case_id}: {problem}")
    if len(problems) > SHOWN:
        _say(f"and {len(problems) - SHOWN} more")
    if problems:
        raise typer.Exit(SOME_FAILED_EXIT_CODE)


def _say(text: str) -> None:
    """Print a line that can be copied, whatever a file is called that it names."""
    from rich.console import Console

    from manifests.views.table_style import plain

    Console().print(plain(text), soft_wrap=True)


@app.command()
def mesh(
    labels: Annotated[
        list[Path],
        typer.Argument(help="Label maps: of predict, or label.nii of prepared cases."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the .glb files.")],
    label_space: Annotated[
        str, typer.Option(help="The classes of the label maps: a name or a TOML file.")
    ] = "abdomen5",
) -> None:
    """Write the organs of label maps as smooth surfaces, one glTF file for each.

    A file of five organs has at most half a megabyte; a web page or PowerPoint shows it.
    """
    from manifests.classes.label_space import load_label_space
    from manifests.exports.surfaces import plan_surfaces, write_surfaces
    from manifests.ground.errors import MarginaliaError
    from manifests.volumes.volume import read_volume

    space, failed = load_label_space(label_space), 0
    for path, target in plan_surfaces(labels, out).items():
        try:
            names = write_surfaces(read_volume(path), space, target)
        except MarginaliaError as error:
            failed += 1
            typer.echo(f"failed  {path}: {error}")
        else:
            typer.echo(f"{target}: {', '.join(names)}")
    if failed:
        raise typer.Exit(SOME_FAILED_EXIT_CODE)
