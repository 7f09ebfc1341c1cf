"""Where recordings come from: files and folders, tars, Parquet, manifests, here or elsewhere."""
