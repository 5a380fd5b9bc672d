"""The sub-commands, one module each with ``add_arguments(parser)`` and ``run(options) -> int``."""

# Name of the command and of its module, and what it does; a module is imported when it is called.
COMMANDS = {
    "schema": "Print the JSON Schema of the configuration.",
}
