"""What a target takes, and what of it runs in int8: operator tables read from TOML."""

from xslim.config.fields import target_names
from xslim.targets.constraints import Constraint
from xslim.targets.load import load_target, target_of
from xslim.targets.table import Operator, Target

__all__ = ["Constraint", "Operator", "Target", "load_target", "target_names", "target_of"]
