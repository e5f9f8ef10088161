"""An archive of pictures inspected anew: a list in, Parquet files of results out, on many cores."""
