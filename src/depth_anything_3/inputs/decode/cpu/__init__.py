"""Image decoders for the CPU."""
