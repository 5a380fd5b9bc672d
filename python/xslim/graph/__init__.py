"""The model in memory: reading, writing, checking and the data that describes its quantisation."""
