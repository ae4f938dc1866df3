"""The calls that Python lacks, one file a system; the only rooms that use ctypes, bound at first use."""
