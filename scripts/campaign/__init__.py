"""Campaigns against the box: hostile input, injected faults, long runs."""
