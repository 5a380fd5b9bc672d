"""Many models at once: a manifest names them, each runs in a process of its own, one table shows all."""
