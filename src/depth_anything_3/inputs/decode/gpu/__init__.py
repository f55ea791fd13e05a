"""Image decoders for GPUs."""
