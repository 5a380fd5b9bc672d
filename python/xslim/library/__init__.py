"""XSlim as a library: data from memory, results as objects."""
