"""The settings of `prepare`: those that are given, or those of the manifest in the folder."""

from pathlib import Path
from typing import Any

from curate.cases.target import NATIVE, Spacing, Target, check_spacing
from manifests.classes.label_space import LabelSpace, load_label_space
from manifests.ground.errors import ManifestError, MarginaliaError
from manifests.ground.word_lists import split_list
from manifests.table.manifest import FILE_NAME, read_head
from manifests.volumes.readers.repairs import Repairs
from manifests.volumes.resampling.separable import Interpolation

SPACING_MM = (1.5, 1.5, 3.0)
FLAGS = ("--label-space", "--spacing", "--interpolation")


def settled_target(
    folder: Path,
    *,
    label_space: str | None = None,
    spacing_mm: Spacing | None = None,
    interpolation: Interpolation | None = None,
    force: bool = False,
) -> Target:
    """Return what cases are made into: as given, else as the folder's manifest says.

    Raises:
        MarginaliaError: The spacing cannot be; or a given value is not the manifest's, or that
            cannot be read and is needed, neither of which counts with `force`.
        LabelSpaceError: There is no such label space, or it is not well formed.
    """
    if spacing_mm is not None:
        check_spacing(spacing_mm)
    space = None if label_space is None else load_label_space(label_space)
    given = (space, spacing_mm, interpolation)
    found: tuple[Any, ...] | None = None
    try:
        found = _settings(folder / FILE_NAME)
    except ManifestError as error:
        if None in given and not force:
            msg = (
                f"{error}; so it is not known how the cases in {folder} were made: give "
                f"{', '.join(FLAGS)}, or choose another folder with --out"
            )
            raise MarginaliaError(msg) from error
    if found and not force:
        _require_same(given, found, folder)
    standing: tuple[Any, ...] = found or (load_label_space("abdomen5"), SPACING_MM, "linear")
    chosen: list[Any] = [s if g is None else g for g, s in zip(given, standing, strict=True)]
    return Target(chosen[0], chosen[1], folder, chosen[2])


def spacing_of(text: str) -> Spacing:
    """Read a spacing as it is typed: `native`, or three numbers.

    Raises:
        MarginaliaError: It is neither.
    """
    if text == NATIVE:
        return NATIVE
    try:
        x, y, z = map(float, split_list(text))
    except ValueError as error:
        msg = (
            f"--spacing: expected 3 numbers, as in --spacing 3 3 3 or --spacing 3,3,3, or native; "
            f"got {text or 'none'}"
        )
        raise MarginaliaError(msg) from error
    return x, y, z


def settled_repairs(
    folder: Path, *, resample_uneven: bool | None = None, refuse_tilt: bool | None = None
) -> Repairs:
    """Return what may be done to odd series: as given, else as the folder's manifest says."""
    try:
        prepared = read_head(folder / FILE_NAME).settings.get("prepare", {})
    except ManifestError:  # told where the rest is settled
        prepared = {}
    uneven = prepared.get("resample_uneven") is True if resample_uneven is None else resample_uneven
    tilt = prepared.get("straighten_tilt") is not False if refuse_tilt is None else not refuse_tilt
    return Repairs(straighten_tilt=tilt, resample_uneven=uneven)


def _settings(path: Path) -> tuple[LabelSpace, Any, Any] | None:
    if not path.exists():
        return None
    head = read_head(path)
    try:
        prepared = head.settings["prepare"]
        spacing = prepared["spacing_mm"]
        as_given = spacing if spacing == NATIVE else tuple(spacing)
        return head.label_space, as_given, prepared["interpolation"]
    except (KeyError, TypeError) as error:
        msg = f"{path} does not say with which settings it was prepared"
        raise ManifestError(msg) from error


def _require_same(given: tuple[Any, ...], found: tuple[Any, ...], folder: Path) -> None:
    differ = [
        f"{flag}: the cases in {folder} have {_words(was)}, and {_words(now)} is asked for"
        for flag, now, was in zip(FLAGS, given, found, strict=True)
        if now is not None and now != was
    ]
    if differ:
        way_out = (
            "leave the option out to add to these cases, or choose another folder with --out; "
            "with --force the datasets that you name are made anew, and others leave the manifest"
        )
        raise MarginaliaError("\n".join([*differ, way_out]))


def _words(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, LabelSpace):
        return f"{value.name} ({', '.join(value.names)})"
    return value if isinstance(value, str) else " ".join(map(str, value))
