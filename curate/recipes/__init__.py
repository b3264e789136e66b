"""Recipes: all there is to know of each source dataset, and the shipped ones as TOML files."""
