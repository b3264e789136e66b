"""Downloads: what a recipe's sources name, fetched and checked, whatever the network does."""
