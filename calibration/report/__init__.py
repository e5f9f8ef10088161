"""One HTML file that shows what bundles do on labeled parts."""
