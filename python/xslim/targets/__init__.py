"""What a target runs in int8: operator tables read from TOML."""

from xslim.targets.table import Operator, Target, load_target, target_names

__all__ = ["Operator", "Target", "load_target", "target_names"]
