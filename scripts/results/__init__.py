"""Makes docs/results.md and its pictures from bundles, a data set and a neighbour store: ``make results``."""
