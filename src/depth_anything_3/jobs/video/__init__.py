"""Write the depth of a video to disk."""
