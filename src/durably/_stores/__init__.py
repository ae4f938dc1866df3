"""Saving to stores through fsspec. Loaded when a URL is used, and not before."""
