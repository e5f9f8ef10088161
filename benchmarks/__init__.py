"""Side-by-side measurements: every figure of speed in the docs comes from a script here."""
