"""Images in, arrays out."""
