"""What everything stands on: errors, finding codes, whole files, hashes, TOML and Dask."""
