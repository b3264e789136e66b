"""A voxel grid and a volume on it."""
