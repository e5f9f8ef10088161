"""What the edge box runs: bundle, engines, preprocessing, Inspector. Never imports torch."""
