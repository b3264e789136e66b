"""Methods: ways to learn from partial labels, ours and those of other papers."""
