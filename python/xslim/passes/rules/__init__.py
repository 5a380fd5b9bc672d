"""Rewrite rules: each has one pattern and states when it must not be applied."""
