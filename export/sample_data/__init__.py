"""Procedural parts in MVTec AD's layout: a data set for demos, tests and docs that may be shipped."""

from export.sample_data.dataset import CATEGORIES, DEFECTS, render_part, write_dataset

__all__ = ["CATEGORIES", "DEFECTS", "render_part", "write_dataset"]
