"""The power-cut rig: every disk that a power cut could leave behind, mounted and looked at.

    writer -> real file system -> loop device -> disk (a FUSE file) -> log

The disk writes down in order what it is told: each write, each discard, each flush, and marks of the
writer ("starts to save", "has returned"). From the log alone, every state is rebuilt that a crash
could leave: all that was written before the last flush, and any part of what came after.

Rooms, each using only those before it: log, history, states (pure); system, loop, disk,
file_systems; noise, session; writers, wrong, workloads; record, observe, check; runs, controls, proof,
doctor, cli.
"""
