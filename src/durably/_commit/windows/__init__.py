"""Windows: by absolute paths and handles; the flush of a directory is declared as skipped."""
