"""What the machine offers: the table of system calls, native bindings, mounts, names, forks, promises."""
