#!/usr/bin/env bash
# highdicom cannot read a frame of a BINARY DICOM SEG that ends within a byte if it reads lazily.
#
# Input:    a valid BINARY SEG of 11 rows and 13 columns, written by highdicom itself. Bits of a
#           frame follow those of the frame before without a gap (PS3.5, 8.2), so that the second
#           frame of 143 bits begins with the last bit of a byte.
# Expected: segread(path, lazy_frame_retrieval=True) gives the frames that segread(path) gives.
# Seen:     highdicom 0.28.2 raises a ValueError ("cannot reshape array of size 137 into shape
#           (11,13)") for every frame but the first, and in get_volume(); pydicom 3.0.2 does so in
#           pydicom.pixels.pixel_array(path, index=1). Without lazy reading both are right, and so
#           are sizes such as 512 x 512, which are whole bytes.
# Way out:  read the whole file where rows x columns is no multiple of 8.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate")
EMPTY += ("StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer")
study, series, frame = generate_uid(), generate_uid(), generate_uid()


def ct_slice(k, rows, columns):
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
    for name in EMPTY:
        setattr(one, name, "")
    one.PositionReferenceIndicator = ""
    one.Modality, one.SeriesNumber, one.InstanceNumber = "CT", 1, k + 1
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness = [2, 2], 3
    one.Rows, one.Columns = rows, columns
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.RescaleSlope, one.RescaleIntercept = 1, 0
    one.PixelData = np.zeros((rows, columns), np.int16).tobytes()
    return one


def outcomes(rows, columns):
    """How many of four frames each way of reading gets right."""
    liver = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="liver",
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept("10200004", "SCT", "Liver"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    label = (np.random.default_rng(0).random((4, rows, columns)) > 0.5).astype(np.uint8)
    written = hd.seg.Segmentation(
        source_images=[ct_slice(k, rows, columns) for k in range(4)],
        pixel_array=label,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[liver],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )
    written.save_as("seg.dcm")
    whole = hd.seg.segread("seg.dcm")
    lazy = hd.seg.segread("seg.dcm", lazy_frame_retrieval=True)
    expected = hd.seg.segread("seg.dcm").pixel_array
    ways = {
        "highdicom, whole file": lambda k: whole.get_stored_frame(k, as_index=True),
        "highdicom, lazily": lambda k: lazy.get_stored_frame(k, as_index=True),
        "pydicom, one frame": lambda k: pixel_array("seg.dcm", index=k),
    }
    return {name: sum(right(way, k, expected[k]) for k in range(4)) for name, way in ways.items()}


def right(way, k, expected):
    try:
        return bool((way(k) == expected).all())
    except ValueError:
        return False


odd, even = outcomes(11, 13), outcomes(8, 16)
print(f"highdicom {hd.__version__}, frames of four that are read right")
for name, count in odd.items():
    print(f"{name}: {count} of 11 x 13 pixels, {even[name]} of 8 x 16")
same = odd == {"highdicom, whole file": 4, "highdicom, lazily": 1, "pydicom, one frame": 1}
sys.exit(0 if same and set(even.values()) == {4} else 1)
PYTHON
