"""Completion: a network labels what the annotator of a case left out."""
