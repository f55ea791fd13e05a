"""Input and output processors under their public paths."""
