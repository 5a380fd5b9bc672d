"""One file per sub-command, with the name of the sub-command; each can be called as a library."""
