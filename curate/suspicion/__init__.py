"""Suspicion: whether a label belongs to its image, by number."""
