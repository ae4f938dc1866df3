"""A whole directory, put in place by one atomic step."""
