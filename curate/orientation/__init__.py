"""Orientation: whether a header's axes are what the anatomy says."""
