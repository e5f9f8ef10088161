"""The station as it runs: its configuration, and the sources that are watched and judged."""
