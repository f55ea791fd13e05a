"""What tests share: files, decoders, checkpoints and machines made in code."""
