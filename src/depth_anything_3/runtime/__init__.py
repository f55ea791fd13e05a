"""Threads, devices, installed packages, option values and atomic writes."""
