"""Augmentation: how patches are changed in shape and intensity, drawn before they are cut."""
