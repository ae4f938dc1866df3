"""Transactions: several files, all or none.

Rooms, each using only those before it: names, root, operations, journal, states, recovery, course,
flusher, staged, staging. The door is `durably._transaction.transaction`.
"""
