"""Input and output processors, and modules kept for clients of upstream, under their public paths."""
