"""Compute the depth of videos: frame by frame, live, or in overlapping windows."""
