"""Subcommands of ``lineside`` that need labeled or good parts."""
