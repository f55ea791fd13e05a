"""Read inputs from disk, compute depth, and write results to disk."""
