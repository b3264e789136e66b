"""Changes of a manifest: splits, edits and diffs."""
