"""Checkpoints: a training or its network as one file, written whole and read without trust."""
