"""Latency of one bundle on this machine: stages, tail, a sustained run, cold start and memory."""
