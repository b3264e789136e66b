"""Structures, label spaces and merged classes."""
