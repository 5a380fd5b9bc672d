"""The whole run, as one straight line of named steps."""
