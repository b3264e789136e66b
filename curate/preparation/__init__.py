"""Preparation: many cases made and counted, on all cores or a cluster, into one manifest."""
