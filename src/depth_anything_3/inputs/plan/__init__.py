"""Plan the resize of an image: pure geometry, no pixels."""
