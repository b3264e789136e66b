"""Prediction: a scan in, a label map on the scan's own grid out."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
import torch
from jaxtyping import UInt8

from manifests.atomic import whole_file
from manifests.content_hash import sha256_of
from manifests.errors import MarginaliaError, TrainingError
from manifests.findings import Finding
from manifests.grid import Grid, harmonised_grid, resample_image, resample_linear
from train.model import Model
from train.scan import read_scan, reason_of, scan_name
from train.sliding_window import OVERLAP, ClassProbabilities, probabilities
from train.stamp import Stamp

NativeClasses = UInt8[np.ndarray, "native_z native_y native_x"]
Outcome = Literal["written", "skipped", "failed"]
_NOTES = "ITK_FileNotes"  # the description in a NIfTI header


@dataclass(frozen=True)
class Prediction:
    """What became of one scan.

    Attributes:
        scan: The file that was to be segmented.
        output: The label map, there unless the scan failed.
        outcome: Written now, skipped since this network wrote it before, or failed.
        reason: Why it failed.
        seconds: How long it took.
        findings: What was noticed of the scan, if it was segmented now.
    """

    scan: Path
    output: Path
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()


def predict_image(
    model: Model, image: sitk.Image, *, device: torch.device | str, overlap: float = OVERLAP
) -> sitk.Image:
    """Segment a CT of any orientation and spacing.

    The network sees the image on a grid of its own spacing. Its probabilities, not its decisions,
    are brought back to the image's grid, so that borders are as smooth as the image is fine.

    Args:
        model: The network and how it wants its input.
        image: A 3-D volume in Hounsfield units.
        device: Where the network runs.
        overlap: Share of a window that the next one covers again.

    Returns:
        Class ids (uint8) with the size, spacing, origin and direction of `image`.

    Raises:
        GeometryError: The image is not 3-D, or its header makes no sense.
    """
    native = Grid.of(image)
    grid = harmonised_grid(native, model.spacing_mm)
    hu = sitk.GetArrayFromImage(resample_image(image, grid))
    likely = probabilities(model, hu, device=device, overlap=overlap)
    return native.image(_most_probable(likely, grid, native))


def _most_probable(likely: ClassProbabilities, grid: Grid, native: Grid) -> NativeClasses:
    """Class ids on `native` of the greatest probability, which is known on `grid`."""
    shape = native.size_xyz[::-1]
    best, classes = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    # one class at a time: all of them on the fine grid of a long scan would not fit in memory
    for n, probability in enumerate(likely):
        on_native = resample_linear(grid.image(probability.numpy()), native)
        current = sitk.GetArrayViewFromImage(on_native)
        better = current > best
        np.copyto(best, current, where=better)
        classes[better] = n
    return classes


def predict_files(
    model: Model,
    scans: Sequence[Path],
    folder: Path,
    *,
    device: torch.device | str,
    overlap: float = OVERLAP,
    overwrite: bool = False,
) -> Iterator[Prediction]:
    """Segment files one after the other; a scan that fails does not stop the others.

    The label map of `scan.nrrd` is `folder/scan.nii.gz`. Its header's description names the
    settings file beside it, `marginalia-<id>.json` (class ids, grid, hash of the weights), and the
    scan's hash. What is there already is skipped if its description is the same, so that the same
    call again does what is missing; anything else in its place is an error.

    Args:
        model: The network and how it wants its input.
        scans: Image files, or folders of DICOM slices.
        folder: Where the label maps go.
        device: Where the network runs.
        overlap: Share of a window that the next one covers again.
        overwrite: Segment again and replace what is there.

    Returns:
        An iterator that segments a scan with each step.

    Raises:
        TrainingError: Two outputs would have one name, or an output would replace a scan.
    """
    planned = plan_outputs(scans, folder)
    stamp = Stamp.of(model, overlap=overlap)
    stamp.write(folder)

    def step(scan: Path, output: Path) -> Prediction:
        start = time.perf_counter()
        try:
            note = f"{stamp.text} {_digest(scan)}"
            if output.exists() and not overwrite:
                return _already_there(scan, output, note)
            image, findings = read_scan(scan)
            labels = predict_image(model, image, device=device, overlap=overlap)
            labels.SetMetaData(_NOTES, note)
            with whole_file(output) as temporary:
                sitk.WriteImage(labels, str(temporary), True)
        # one bad scan must not end the run for the others; its reason is in the report
        except (MarginaliaError, RuntimeError, OSError, ValueError, MemoryError) as error:
            return Prediction(scan, output, "failed", reason_of(error))
        seconds = time.perf_counter() - start
        return Prediction(scan, output, "written", seconds=seconds, findings=findings)

    return (step(scan, output) for scan, output in planned)


def plan_outputs(scans: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Pair each scan with the file that its label map goes to.

    Raises:
        TrainingError: Two outputs would have one name, or an output would replace a scan.
    """
    planned = [(scan, folder / f"{scan_name(scan)}.nii.gz") for scan in scans]
    sources = {scan.resolve() for scan in scans}
    taken: dict[str, Path] = {}
    for scan, output in planned:
        if output.resolve() in sources:
            msg = f"the label map of {scan} would replace the scan {output}; choose another folder"
            raise TrainingError(msg)
        # names that differ in case only are one file on some file systems
        other = taken.setdefault(output.name.lower(), scan)
        if other is not scan:
            msg = (
                f"{other} and {scan} would both be written to {output}; "
                f"give them different names, or predict them into different folders"
            )
            raise TrainingError(msg)
    return planned


def _already_there(scan: Path, output: Path, note: str) -> Prediction:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(output))
    reader.ReadImageInformation()
    if reader.HasMetaDataKey(_NOTES) and reader.GetMetaData(_NOTES) == note:
        return Prediction(scan, output, "skipped")
    reason = (
        f"{output} is there, and is not what this network makes of this scan: overwrite it, or "
        f"choose another folder"
    )
    return Prediction(scan, output, "failed", reason)


def _digest(scan: Path) -> str:
    return sha256_of(scan)[:16]
