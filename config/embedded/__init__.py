"""The private PostgreSQL, Redis and supervisor that run where none are given. None of it needs Django."""
