"""Prediction: a scan in, a label map on the scan's own grid out."""
