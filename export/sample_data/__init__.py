"""Procedural parts in MVTec AD's layout, for demos, tests and docs."""

from export.sample_data.dataset import CATEGORIES, DEFECTS, render_part, write_dataset

__all__ = ["CATEGORIES", "DEFECTS", "render_part", "write_dataset"]
