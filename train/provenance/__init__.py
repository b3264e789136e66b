"""Provenance: what a network learnt from, told to people and to machines, and packed with it."""
