#!/usr/bin/env bash
# SimpleITK reads a DICOM SEG of type BINARY without an error, as a stack of frames that lies nowhere.
#
# Input:    a valid DICOM SEG of two segments, on a CT of 0.7 x 1.3 x 3 mm, as highdicom writes it: a
#           frame for each slice of each segment, with its place in the functional groups.
# Expected: SimpleITK 2.5.7 reads a volume with the CT's spacing, or refuses the file.
# Seen:     an image of as many slices as both segments have frames, one segment above the other, with
#           spacing 1 x 1 x 1 mm and 255 for both, so that neither can be told from the other. The
#           same content of type LABELMAP is refused.
# Way out:  read DICOM SEG with highdicom or dcmqi.
#
# Ends with 0 while this is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet highdicom==0.28.2 pydicom==3.0.2 SimpleITK==2.5.7
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate")
EMPTY += ("StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer")
study, series, frame = generate_uid(), generate_uid(), generate_uid()


def ct_slice(k):
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
    one.PixelSpacing, one.SliceThickness = [0.7, 1.3], 3
    one.Rows = one.Columns = 16
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
    one.RescaleSlope, one.RescaleIntercept = 1, 0
    one.PixelData = np.zeros((16, 16), np.int16).tobytes()
    return one


def segment(number, name, code):
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept(code, "SCT", name),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write(kind):
    label = np.zeros((5, 16, 16), np.uint8)
    label[1:4, 4:8, 4:8] = 1  # three slices
    label[2:4, 10:12, 4:8] = 2  # two slices
    hd.seg.Segmentation(
        source_images=[ct_slice(k) for k in range(5)],
        pixel_array=label,
        segmentation_type=kind,
        segment_descriptions=[segment(1, "Liver", "10200004"), segment(2, "Spleen", "78961009")],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    ).save_as(f"{kind.lower()}.dcm")


write("BINARY")
write("LABELMAP")
image = sitk.ReadImage("binary.dcm")
size, spacing = image.GetSize(), image.GetSpacing()
values = np.unique(sitk.GetArrayViewFromImage(image)).tolist()
print(f"SimpleITK {sitk.Version.VersionString()}")
print(f"BINARY:   size {size}, spacing {spacing}, values {values}")
try:
    sitk.ReadImage("labelmap.dcm")
    refused = False
except RuntimeError as error:
    refused = True
    print(f"LABELMAP: {str(error).splitlines()[-1]}")
same = size == (16, 16, 5) and spacing == (1.0, 1.0, 1.0) and values == [0, 255]
sys.exit(0 if same and refused else 1)
PYTHON
