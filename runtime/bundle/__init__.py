"""The bundle folder: manifest, hashes and seals, thresholds and limits, packing."""
