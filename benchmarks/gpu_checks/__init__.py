"""Sections of `gpu_suite.py`: checks and measurements that need an NVIDIA GPU."""
