"""Training: the loop, what it reads, tells, keeps and goes on from."""
