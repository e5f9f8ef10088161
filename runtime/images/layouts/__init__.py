"""Data sets that are laid out otherwise than MVTec AD."""
