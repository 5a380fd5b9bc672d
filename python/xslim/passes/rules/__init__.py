"""Rewrite rules: one pattern each, with the reasons for which it must not fire."""
