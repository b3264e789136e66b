"""Labels of 3D Slicer: the segments of `.seg.nrrd` files, as masks on the grid of an image."""
