"""Targets: operator tables in TOML that tell which operators a target runs, and which of them in int8."""

from xslim.config.fields import target_names
from xslim.targets.constraints import Constraint
from xslim.targets.load import load_target, target_of
from xslim.targets.table import Chip, Operator, Target

__all__ = ["Chip", "Constraint", "Operator", "Target", "load_target", "target_names", "target_of"]
