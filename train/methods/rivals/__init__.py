"""Comparison methods of other papers: each a loss and a network, all else as for ours."""
