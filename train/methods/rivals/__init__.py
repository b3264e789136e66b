"""Rivals: methods of other papers, each a loss and a network, with all else as it is for ours."""
