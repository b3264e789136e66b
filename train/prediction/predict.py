"""Prediction: a scan in, a label map on the scan's own grid out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import SimpleITK as sitk

from manifests.classes.colour_tables import write_colour_tables
from manifests.ground.content_hash import sha256_of
from manifests.ground.errors import TrainingError
from manifests.ground.findings import Finding
from manifests.volumes.grid import Grid, harmonised_grid
from manifests.volumes.resampling.resampling import resample_image
from manifests.volumes.volume import Volume
from train.prediction.cleanup import keep_largest_components
from train.prediction.companions import Companions, Segmented
from train.prediction.label_map_file import note_of, write_label_map
from train.prediction.native_grid import most_probable
from train.prediction.scan import find_scans, read_scan, reason_of, require_scan
from train.prediction.scan_audit import audit_scan
from train.prediction.seen_scan import note_seen
from train.prediction.sidecar import read_sidecar, write_sidecar
from train.prediction.sliding_window import Predictor, predict_field
from train.prediction.stamp import Stamp
from train.seen import KnownScans

NO_COMPANIONS = Companions()


@dataclass(frozen=True)
class Prediction:
    """What became of one scan.

    Attributes:
        output: The label map; it is there unless the scan failed.
        outcome: Written now, skipped since this network wrote it before, or failed.
        reason: Why it failed.
        findings: What was noticed about the scan when its label map was made.
    """

    scan: Path
    output: Path
    outcome: Literal["written", "skipped", "failed"]
    reason: str = ""
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()


def predict_image(
    predictor: Predictor, image: sitk.Image, *, largest_component: bool = False
) -> sitk.Image:
    """Segment a CT of any orientation and spacing.

    The network sees the image on a grid of its own spacing. Its probabilities, not its decisions,
    are brought back to the image's grid, so that borders are as smooth as the image is fine.

    Args:
        predictor: The network.
        image: A 3-D volume in Hounsfield units.
        largest_component: Keep only the largest component of each organ.

    Returns:
        Class ids (uint8) with the size, spacing, origin and direction of `image`.

    Raises:
        GeometryError: The image is not 3-D, or its header makes no sense.
    """
    return segment(predictor, image, largest_component=largest_component).labels


def segment(
    predictor: Predictor, image: sitk.Image, *, largest_component: bool, keep: bool = False
) -> Segmented:
    """Segment a CT as `predict_image` does; `keep` the probabilities if told to."""
    model = predictor.model
    native = Grid.of(image)
    grid = harmonised_grid(native, model.spacing_mm)
    hu = resample_image(Volume.of(image), grid, interpolation=model.interpolation).voxels
    field, probs = predict_field(predictor, hu, keep=keep)
    classes = most_probable(field, grid, native)
    if largest_component:
        classes = keep_largest_components(classes, model.label_space)
    return Segmented(native.image(classes), probs, grid)


def predict_files(
    predictor: Predictor,
    scans: Sequence[Path],
    folder: Path,
    *,
    largest_component: bool = False,
    companions: Companions = NO_COMPANIONS,
    overwrite: bool = False,
) -> Iterator[Prediction]:
    """Segment files one after the other; a scan that fails does not stop the others.

    The label map of `scan.nrrd` is `folder/scan.nii.gz`. Its header's description names the
    settings file beside it, `marginalia-<id>.json` (class ids, grid, hash of the weights), and the
    scan's hash; colour tables of the same name tell viewers what the values mean. What was noticed
    about the scan, such as a header that the anatomy contradicts, is in `scan.findings.json`.

    What is there already is skipped if its description is the same, so that the same call again
    does what is missing; anything else in its place is an error.

    Args:
        predictor: The network.
        scans: Image files, folders of DICOM slices, or folders of any of them.
        folder: Where the label maps go.
        largest_component: Keep only the largest component of each organ.
        companions: What is to be written beside each label map. A file that is there and does
            not bear the label map's description is written again.
        overwrite: Segment again and replace what is there.

    Returns:
        An iterator that segments a scan with each step.

    Raises:
        TrainingError: Two outputs would have one name, an output would replace a scan, or a
            companion is wanted where there can be none.
    """
    planned = plan_outputs(scans, folder)
    companions.check([scan for scan, _ in planned])
    model = predictor.model
    stamp = Stamp.of(
        model,
        overlap=predictor.overlap,
        mirror_axes=predictor.mirror_axes,
        largest_component=largest_component,
    )
    learnt = [network.learnt for network in model.networks]
    known = KnownScans.trained(learnt)
    stamp.write(folder)
    write_colour_tables(model.label_space, folder, stamp.text)

    def step(scan: Path, output: Path) -> Prediction:
        start = time.perf_counter()
        try:
            require_scan(scan)
            note = f"{stamp.text} {sha256_of(scan)[:16]}"
            if output.exists() and not overwrite:
                there = _already_there(scan, output, note)
                if there.outcome == "failed" or companions.are_there(output, note):
                    return there
            image, findings = read_scan(scan, predictor.repairs)
            source = companions.source(scan)
            made = segment(
                predictor,
                image,
                largest_component=largest_component,
                keep=companions.probabilities,
            )
            labels = made.labels
            findings += (
                *audit_scan(image, labels, model.label_space),
                *note_seen(image, known),
            )
            # all of it before the label map, which tells that all is done
            write_sidecar(output, scan, note, findings, learnt)
            companions.write(made, model.label_space, source, output, note=note)
            write_label_map(labels, output, scan=scan, note=note)
        # one bad scan must not end the run for the others; its reason is in the report
        except Exception as error:
            return Prediction(scan, output, "failed", reason_of(error))
        seconds = time.perf_counter() - start
        return Prediction(scan, output, "written", seconds=seconds, findings=findings)

    return (step(scan, output) for scan, output in planned)


def plan_outputs(scans: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Pair each scan of files and folders with the file that its label map goes to.

    The scans of a folder are called by their places in it: `scans/a/ct.nii` becomes
    `folder/a/ct.nii.gz`.

    Raises:
        TrainingError: Two outputs would have one name, or an output would replace a scan or lie
            among its slices.
    """
    found = [pair for path in scans for pair in find_scans(path, leave_out=folder)]
    planned = [(scan, folder / f"{name}.nii.gz") for scan, name in found]
    sources = {scan.resolve() for scan, _ in found}
    taken: dict[str, Path] = {}
    for scan, output in planned:
        if output.resolve() in sources:
            msg = f"the label map of {scan} would replace the scan {output}; choose another folder"
            raise TrainingError(msg)
        if scan.is_dir() and scan.resolve() in output.resolve().parents:
            msg = (
                f"the label map of {scan} would be written to {output}, among its own slices, and "
                f"so make another scan of it; choose a folder outside"
            )
            raise TrainingError(msg)
        # names that differ in case only are one file on some file systems
        other = taken.setdefault(str(output).lower(), scan)
        if other is not scan:
            msg = (
                f"{other} and {scan} would both be written to {output}; "
                f"give them different names, or predict them into different folders"
            )
            raise TrainingError(msg)
    return planned


def _already_there(scan: Path, output: Path, note: str) -> Prediction:
    if note_of(output) == note:
        return Prediction(scan, output, "skipped", findings=read_sidecar(output))
    reason = (
        f"{output} is there, and is not what this network makes of this scan: overwrite it, or "
        f"choose another folder"
    )
    return Prediction(scan, output, "failed", reason)
