"""Networks as files of other formats: write them, verify them, run them."""
