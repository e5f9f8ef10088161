"""Which model fits this machine: variants derived, measured here, and the best within a budget."""
