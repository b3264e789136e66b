"""CT series and DICOM SEG files, written by pydicom and highdicom."""

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

EMPTY = ("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime")
EMPTY += ("AccessionNumber", "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator")
ORIGIN_MM = (-100.0, -90.0, 30.0)
SPACING_MM = (1.5, 2.0, 3.0)  # x, y, z: pixels are not square
CODES = {
    "liver": ("10200004", "Liver"),
    "spleen": ("78961009", "Spleen"),
    "kidney": ("64033007", "Kidney"),
    "left": ("7771000", "Left"),
    "right": ("24028007", "Right"),
    "neoplasm": ("108369006", "Neoplasm"),
}


def coded(name):
    value, meaning = CODES[name]
    return hd.sr.CodedConcept(value, "SCT", meaning)


def ct_series(folder, hu, *, spacing=SPACING_MM, origin=ORIGIN_MM, names="{}.dcm"):
    """Write one file per slice of an array [z, y, x]; return what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    written = []
    for k, pixels in enumerate(hu):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID = frame
        for name in EMPTY:
            setattr(one, name, "")
        one.PatientID, one.Modality, one.SeriesNumber, one.InstanceNumber = "1", "CT", 1, k + 1
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.ImagePositionPatient = [*origin[:2], origin[2] + k * spacing[2]]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        one.Rows, one.Columns = pixels.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.RescaleSlope, one.RescaleIntercept = 1, 0
        one.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
        one["PixelData"].VR = "OW"
        one.save_as(folder / names.format(k), enforce_file_format=True)
        written.append(one)
    return written


def segment(number, name, kind="liver", *, side=None, region=None):
    """Describe a segment of a SEG."""
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=coded(kind),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        anatomic_regions=[coded(region)] if region else None,
    )
    if side:
        kinds = described.SegmentedPropertyTypeCodeSequence
        kinds[0].SegmentedPropertyTypeModifierCodeSequence = [coded(side)]
    return described


def write_seg(path, sources, voxels, segments, *, kind="BINARY", **options):
    """Write a SEG of `voxels`: numbers of segments [z, y, x], or masks [z, y, x, segment]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=voxels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        **options,
    )
    made.save_as(path)
    return made


def write_rtstruct(path, sources, regions, *, kind="CLOSED_PLANAR"):
    """Write contours, points in mm [n, 3], by the region's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID, one.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID = sources[0].StudyInstanceUID, generate_uid()
    one.Modality, one.StructureSetLabel = "RTSTRUCT", "made"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    one.ReferencedFrameOfReferenceSequence = [frame]
    one.StructureSetROISequence, one.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        told, drawn = Dataset(), Dataset()
        told.ROINumber, told.ROIName, told.ROIGenerationAlgorithm = number, name, "MANUAL"
        one.StructureSetROISequence.append(told)
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = "POINT" if len(points) == 1 else kind
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{mm:.9g}" for mm in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        one.ROIContourSequence.append(drawn)
    one.save_as(path, enforce_file_format=True)
    return one
