"""macOS: POSIX, with flushes that reach the disk, clones, and ACLs copied by the system."""
