"""Whole runs: from configuration and model to the written result and its report."""
