"""Drafts: a recipe for somebody's own folder, guessed from names, asked for, and tried."""
