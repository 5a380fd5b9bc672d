"""``make accuracy``: real models and tasks, on calibration lists drawn at random, beside other quantisers."""
