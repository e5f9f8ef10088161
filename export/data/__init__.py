"""Pictures for training: anomalib's data module over Lineside's one preprocessing."""
