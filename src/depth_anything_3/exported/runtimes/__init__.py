"""Libraries that run exported networks, one file a library."""
