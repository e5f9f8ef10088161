"""Who may come in: origins, passwords, tokens."""
