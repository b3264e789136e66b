"""Labels: read as values, laid on their image's grid, joined, and told as classes."""
