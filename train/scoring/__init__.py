"""Scoring: label maps against what the annotators labelled, by any program."""
