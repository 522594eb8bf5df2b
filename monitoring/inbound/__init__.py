"""Alerts from outside: their formats, the ledger of what came, and the spool for when the database is away."""
