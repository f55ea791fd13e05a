"""Threads, devices, installed packages and atomic writes."""
