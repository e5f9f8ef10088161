"""Subcommands of ``lineside``; heavy imports stay inside the functions."""
