"""Depth of videos: whole, live, and in overlapping windows."""
