"""Transactions: several files, all or none, also across a crash.

Before the journal stands a crash leaves all files old; after, `durably.recover` makes all of them new, or
all old again.
"""
