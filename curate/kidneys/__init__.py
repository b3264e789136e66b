"""Kidneys: left and right told apart in a mask that names no side."""
