"""Choose how an image reaches the network's memory."""
