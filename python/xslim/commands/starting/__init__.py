"""What ``xslim init`` finds out about a model and its data, to write a configuration to start from."""
