"""Label spaces for people: what there are, what one holds, and how a new one is written."""
