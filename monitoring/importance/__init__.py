"""How much each input matters to a version's answers: measured on its holdout set when it is registered."""
