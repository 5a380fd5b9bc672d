"""Calibration: samples from files, and what the float model does with them."""
