"""Run the network on prepared batches, views of a scene, and videos."""
