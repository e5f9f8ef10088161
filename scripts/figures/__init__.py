"""Figures of the tutorial and of how-to pages: python -m scripts.figures."""
