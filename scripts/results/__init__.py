"""docs/results.md and its pictures from bundles, parts and a store: ``make results``."""
