"""Transactions: several files, all or none.

Rooms, each using only those before it: names, root, journal, states, recovery, course, flusher,
staging. The door is `durably._transaction`.
"""
