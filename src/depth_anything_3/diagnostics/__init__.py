"""Check and measure this machine: doctor, self-check, calibration."""
