"""Planning: what a training will use, do and cost, decided before it starts."""
