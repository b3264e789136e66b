"""Report: a folder of pages in which a person looks through the cases of a manifest."""
