"""Labels in DICOM: the segments of DICOM SEG and RTSTRUCT, as masks on the grid of an image."""
