"""What the benchmarks share: methods, timing, memory, fidelity, machine facts and reports."""
