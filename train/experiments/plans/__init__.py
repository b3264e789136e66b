"""What an experiment trains: rows, datasets, budgets and costs."""
