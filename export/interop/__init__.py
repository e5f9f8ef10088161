"""Models and results of others: what anomalib has exported becomes a bundle."""
