"""nnU-Net's raw dataset: what goes where, its documents, and the writing of it."""
