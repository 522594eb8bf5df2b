"""Telling people outside: maintenance, drafts, subscribers, and the outbox through which every message goes."""
