"""Which alerts are one incident, which wait for more of their kind, and which change too often to wake anybody."""
