#!/usr/bin/env bash
# highdicom writes a DICOM SEG that its own reader refuses when SliceThickness of the CT is empty.
#
# Input:    a valid CT series whose SliceThickness has no value, as the attribute's type 2 in the CT
#           Image module allows and as anonymised series have it.
# Expected: highdicom 0.28.2 takes the distance of the slices, or refuses to write.
# Seen:     Segmentation copies the empty value and is saved without an error; segread() of that file
#           succeeds, and get_volume() raises an AttributeError ("does not have the required
#           attributes for a Pixel Measures Sequence").
# Way out:  set SliceThickness of the source images in memory, or give pixel_measures.
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
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate")
EMPTY += ("StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer")
study, series, frame = generate_uid(), generate_uid(), generate_uid()


def ct_slice(k, thickness):
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
    one.PixelSpacing, one.SliceThickness = [2, 2], thickness
    one.Rows = one.Columns = 16
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.RescaleSlope, one.RescaleIntercept = 1, 0
    one.PixelData = np.zeros((16, 16), np.int16).tobytes()
    return one


def outcome(thickness):
    liver = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="liver",
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept("10200004", "SCT", "Liver"),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    label = np.zeros((4, 16, 16), np.uint8)
    label[1:3, 4:8, 4:8] = 1
    written = hd.seg.Segmentation(
        source_images=[ct_slice(k, thickness) for k in range(4)],
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
    try:
        volume = hd.seg.segread("seg.dcm").get_volume(combine_segments=True)
    except AttributeError as error:
        return f"written, not readable: {error}"
    return f"written and read, {int(volume.array.sum())} voxels of the liver"


filled, empty = outcome(3.0), outcome(None)
print(f"highdicom {hd.__version__}")
print(f"SliceThickness 3:     {filled}")
print(f"SliceThickness empty: {empty}")
right = filled.endswith("read, 32 voxels of the liver")
sys.exit(0 if right and "not readable" in empty else 1)
PYTHON
