"""The figures of docs/tutorial.md, from procedural parts: python -m scripts.figures."""
