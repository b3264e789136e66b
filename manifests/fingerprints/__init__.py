"""Fingerprints: by which copies and parts of a CT are recognised, whatever they are called."""
