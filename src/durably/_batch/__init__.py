"""Many files with shared flushes: group commit."""
