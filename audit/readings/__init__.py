"""What the log says about one question of an auditor's, worked out from its events alone."""
