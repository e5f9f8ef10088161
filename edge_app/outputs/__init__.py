"""What leaves the box as it happens: every verdict, in order and at least once."""
