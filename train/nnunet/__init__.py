"""nnU-Net with marginal and exclusion losses: what our trainer changes around its own."""
