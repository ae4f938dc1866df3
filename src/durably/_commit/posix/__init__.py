"""How POSIX systems commit files, directories and names: by descriptor, following no link."""
