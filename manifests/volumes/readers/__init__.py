"""Readers of volumes: NIfTI and DICOM."""
