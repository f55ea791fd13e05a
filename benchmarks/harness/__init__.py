"""Shared parts of the benchmarks: methods, timing, memory, fidelity, machine facts and reports."""
