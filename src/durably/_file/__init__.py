"""One file: stage, write, flush, rename, flush the directory; or leave no trace."""
