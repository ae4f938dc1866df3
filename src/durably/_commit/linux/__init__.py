"""Linux: POSIX, with unnamed temporaries, POSIX ACLs, reflinks and syncfs."""
