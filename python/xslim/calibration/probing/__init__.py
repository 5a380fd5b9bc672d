"""Find the preprocessing that a float model was trained with, by what the model itself knows."""

from xslim.calibration.probing.candidates import Normalisation
from xslim.calibration.probing.measure import Measured, Subject, Trial, measure

__all__ = ["Measured", "Normalisation", "Subject", "Trial", "measure"]
