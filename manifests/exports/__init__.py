"""Exports: a manifest's cases in the words of other programs."""
