"""The phantom: drawn patients, published in the layouts of the five real datasets."""
