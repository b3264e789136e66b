#!/usr/bin/env bash
# SimpleITK reads an Enhanced CT with the rescale of its first frame for all frames.
#
# Input:    a valid Enhanced CT of four frames, in which the Pixel Value Transformation Sequence, which
#           may stand in the shared or in the per-frame functional groups, gives each frame a slope
#           and an intercept of its own.
# Expected: SimpleITK 2.5.7 applies to each frame its own, as it does with single slices; or refuses.
# Seen:     all frames get the slope and the intercept of the first one, without a warning.
# Way out:  read the stored values, and apply each frame's numbers as pydicom gives them.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset

image = sitk.GetImageFromArray(np.full((4, 8, 8), 100, np.int16))
for tag, value in {
    "0008|0060": "CT",
    "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
    "0028|1052": "0",
    "0028|1053": "1",
}.items():
    image.SetMetaData(tag, value)
sitk.WriteImage(image, "ct.dcm")  # as Enhanced CT
dataset = pydicom.dcmread("ct.dcm")
assert dataset.SOPClassUID.name == "Enhanced CT Image Storage"
del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
    own = Dataset()
    own.RescaleIntercept, own.RescaleSlope, own.RescaleType = 10 * number, 1 + number, "HU"
    group.PixelValueTransformationSequence = [own]
    group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, -3 * number]
dataset.save_as("ct.dcm")

stored = dataset.pixel_array[:, 0, 0]
right = [int(v) * (1 + n) + 10 * n for n, v in enumerate(stored)]
read = sitk.ReadImage("ct.dcm")
seen = [int(v) for v in sitk.GetArrayFromImage(read)[:, 0, 0]]
print(f"SimpleITK {sitk.Version.VersionString()}")
print(f"stored   {stored.tolist()}\nexpected {right}\nseen     {seen}")
sys.exit(0 if seen == [right[0]] * 4 and seen != right else 1)
PYTHON
