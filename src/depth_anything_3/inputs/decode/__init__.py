"""Image decoders for the CPU and for GPUs."""
