"""Convert images to network input, and network output to predictions."""
