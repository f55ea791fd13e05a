"""Prepare images in parallel and assemble batches of one size."""
