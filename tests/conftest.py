"""Settings of all tests."""

import os

# Messages are compared in English, whatever the locale of the machine is.
os.environ["LANGUAGE"] = "en"
