"""Who is woken: rotations, escalation policies, how each person is reached, and the escalation of an incident."""
