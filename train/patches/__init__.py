"""Patches: which voxels of the cases make an epoch, and where they are read from."""
