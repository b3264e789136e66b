"""What the terminal shows of a manifest."""
