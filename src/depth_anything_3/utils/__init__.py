"""Parts that serve the API and the command line."""
