"""Write quantised and float16 models, and check that they are valid and run."""
