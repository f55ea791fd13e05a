"""Files that break image readers, and what is expected of each."""
