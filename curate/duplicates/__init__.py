"""Duplicates: cases that show one image or one patient, known by fingerprints and by word."""
