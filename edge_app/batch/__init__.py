"""A folder or a ZIP of pictures judged at once: its progress, its table, its report."""
