"""Pictures: reading, preprocessing, regions, heat maps, data sets."""
