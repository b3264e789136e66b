"""Anatomy: whether a header's axes are what the body and its organs say."""
