"""Faults outside of the table: strace makes the system calls of a save fail, or kills at them.

    zygote (a warm process) - fork -> child: burns, mark, save, mark
      ^ attached: strace -f -e inject=CALLS:error=EIO:when=N

strace counts the calls of each process by itself, so one strace serves thousands of faults: the child
that is to fail at its i-th fsync first makes N - i calls of fsync that are nonsense, before its mark.
What was really hit is read off strace's own log.

Rooms, each using only those before it: outcome, errors, shapes, ways, wrong; tracee, tracer; judge; campaign.
"""
