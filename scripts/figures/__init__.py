"""The figures of docs/tutorial.md, drawn from procedural parts and a model trained on them: python -m scripts.figures."""
