"""Comparison: evaluated runs side by side, with tests, tables and the worst cases."""
