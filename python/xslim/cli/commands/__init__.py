"""The sub-commands, one module each with ``add_arguments(parser)`` and ``run(options) -> int``."""

# Name of the command and of its module, and what it does; a module is imported when it is called.
COMMANDS = {
    "check": "Show what a target's execution provider does with a model.",
    "collect": "Calibrate on a part of the samples and keep the sketches.",
    "compare": "Compare the outputs of two models on the same samples.",
    "info": "Show inputs, outputs, operators, parameters and cost of a model.",
    "init": "Look at a model and write a configuration to start from.",
    "plan": "Show what would become int8, and why, without running anything.",
    "quantize": "Quantise as a configuration says, from collected sketches where given.",
    "schema": "Print the JSON Schema of the configuration.",
}
