"""Find the cheapest model that is accurate enough: which tensors stay float, and what costs nothing.

One run is calibrated and refined per candidate; what each quantiser adds to the error of the outputs is
measured once and predicts the candidates that are worth a run.
"""

from xslim.tuning.goal import Goal, Measure
from xslim.tuning.run import TuneOutcome, UserMetric, search_and_write
from xslim.tuning.search import Tuned
from xslim.tuning.trial import Settings, Trial

__all__ = ["Goal", "Measure", "Settings", "Trial", "TuneOutcome", "Tuned", "UserMetric", "search_and_write"]
