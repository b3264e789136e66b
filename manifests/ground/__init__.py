"""The base of everything: errors, finding codes, atomic writes, hashes, TOML and Dask."""
