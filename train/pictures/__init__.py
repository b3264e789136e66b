"""Pictures: label maps drawn over the slices that are worth a look."""
