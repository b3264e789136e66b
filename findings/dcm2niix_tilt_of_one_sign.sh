#!/usr/bin/env bash
# dcm2niix straightens a tilted CT to its place for one sign of the tilt, and elsewhere for the other.
#
# Input:    two valid CT series of a ball at one place, scanned with the gantry tilted by 15 degrees to
#           either side, while the table moves along z. GantryDetectorTilt has the sign that real series
#           of Philips have; a real one of GE has the other sign for the same tilt.
# Expected: dcm2niix v1.0.20260724 writes a corrected file (`_Tilt`) with the ball at its place, or
#           says that it cannot. The uncorrected file says with sheared axes where the slices lie.
# Seen:     the corrected file of one sign has the ball at its place, within a millimetre; that of the
#           other has it more than 5 mm off, without a warning about this. The uncorrected files have
#           sheared axes, along which slices are too close by the cosine of the tilt.
# Met on:   neurolabusc/dcm_qa_ct, whose series Philips S3010 has the sign that fails.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dcm2niix==1.0.20260724 pydicom==3.0.2 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" python - <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE, PIXEL_MM, STEP_MM, COUNT = 64, 1.0, 2.0, 40
CENTRE = np.array([4.0, -6.0, 50.0])  # of the ball, LPS


def write(folder, degrees):
    folder.mkdir()
    tilt = np.deg2rad(degrees)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), np.sin(tilt)])
    first = CENTRE - 0.5 * SIZE * PIXEL_MM * (row + column) - [0, 0, STEP_MM * COUNT / 2]
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    y, x = np.indices((SIZE, SIZE))
    for n in range(COUNT):
        place = first + [0, 0, n * STEP_MM]
        at = place + x[..., None] * PIXEL_MM * row + y[..., None] * PIXEL_MM * column
        off = np.linalg.norm(at - CENTRE, axis=-1)
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.Manufacturer, one.SeriesNumber = "CT", "Philips", 1
        one.PatientID, one.PatientName, one.PatientPosition = "0", "ball", "HFS"
        one.ImageType, one.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], n + 1
        one.AcquisitionNumber = 1
        one.ImagePositionPatient = [f"{v:.6f}" for v in place]
        one.ImageOrientationPatient = [f"{v:.9f}" for v in (*row, *column)]
        one.GantryDetectorTilt = f"{degrees:g}"
        one.PixelSpacing, one.SliceThickness = [PIXEL_MM, PIXEL_MM], STEP_MM
        one.Rows = one.Columns = SIZE
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.where(off < 12, 1000, -1000).astype("<i2").tobytes()
        one.save_as(folder / f"{n:03}.dcm", enforce_file_format=True)


def off_mm(path):
    """How far the ball's centre is from its place by the header of a NIfTI file."""
    image = nib.load(path)
    inside = np.argwhere(np.asanyarray(image.dataobj) > 0)
    middle = image.affine @ [*inside.mean(axis=0), 1]
    return float(np.linalg.norm(middle[:3] * [-1, -1, 1] - CENTRE))


print(subprocess.run(["dcm2niix", "--version"], capture_output=True, text=True).stdout.strip())
errors = {}
for degrees in (15, -15):
    folder = Path(f"tilt{degrees}")
    write(folder, degrees)
    subprocess.run(["dcm2niix", "-f", "x", str(folder)], check=True, capture_output=True)
    affine = nib.load(folder / "x.nii").affine[:3, :3]
    cosines = affine / np.linalg.norm(affine, axis=0)
    (straight,) = folder.glob("x_Tilt*.nii")
    errors[degrees] = off_mm(straight)
    print(
        f"{degrees:>3} degrees: {straight.name} has the ball {errors[degrees]:.1f} mm from its place; "
        f"x.nii: {off_mm(folder / 'x.nii'):.1f} mm, shear {cosines[:, 1] @ cosines[:, 2]:.2f}, "
        f"length of a step {np.linalg.norm(affine[:, 2]):.3f} mm for {STEP_MM:g} mm"
    )
good, bad = sorted(errors.values())
sys.exit(0 if good < 1 and bad > 5 else 1)
PYTHON
