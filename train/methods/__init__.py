"""Methods: ways to learn from partial labels, ours and the rivals, in one table."""
