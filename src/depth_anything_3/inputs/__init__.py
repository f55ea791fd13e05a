"""Find, probe, plan, decode and resample images and video frames."""
