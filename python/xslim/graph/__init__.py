"""The model in memory: read, write and check it, and the dataclasses that describe its quantisation."""
