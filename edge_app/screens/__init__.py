"""The operator's screens and what they ask for: the line, how parts look, the history, exports."""
