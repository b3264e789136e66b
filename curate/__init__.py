"""Raw archives to harmonised cases: unpack, orient, relabel, resample, check."""
