"""The sections of `gpu_suite.py`: what is checked and measured on a machine with an NVIDIA GPU."""
