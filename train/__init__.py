"""Manifest to network: patches, losses, methods, training, prediction, scoring, comparison."""
