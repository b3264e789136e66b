"""The experiments of the paper: what they are, how they run, and the tables they come to."""
