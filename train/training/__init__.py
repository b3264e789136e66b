"""Training: the loop, its batches, events, log and checkpoints to resume from."""
