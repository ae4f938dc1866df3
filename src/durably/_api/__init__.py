"""The public functions, and the one dispatch between this machine and a store."""
