"""Empty: it exists because code written for DCLM imports it; the constants are in `baselines.core.constants`."""
