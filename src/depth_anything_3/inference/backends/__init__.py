"""What computes a network: torch, or a library that runs exported networks."""
