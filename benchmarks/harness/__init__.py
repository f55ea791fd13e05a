"""What every benchmark shares: methods, timing, machine facts and reports."""
