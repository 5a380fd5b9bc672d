"""One file per sub-command, named like it; each can be called as a library."""
