"""Two sides of an endpoint held against each other: versions, hosts, spans of time, or a version's training data."""
