"""The inference graphs that leave the workstation, as traceable modules apart from the export code."""
