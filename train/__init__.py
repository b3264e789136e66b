"""Manifest to network: losses, sampling, the loop, prediction, metrics."""
