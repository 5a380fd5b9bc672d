"""Graph preparation: any exported model, made small and canonical, with nothing changed outside."""

from xslim.passes.cut import Parts, join, split
from xslim.passes.fusion import EVERY_FUSION
from xslim.passes.preparation import prepare

__all__ = ["EVERY_FUSION", "Parts", "join", "prepare", "split"]
