"""Erasing a person: the account becomes its pseudonym, and what the person wrote can't be opened any more."""
