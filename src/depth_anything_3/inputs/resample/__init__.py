"""Apply a resize plan to pixels on the CPU or a GPU."""
