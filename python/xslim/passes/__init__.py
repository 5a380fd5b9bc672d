"""Graph preparation: make an exported model small and canonical without changing its interface or results."""

from xslim.passes.cut import Parts, join, split
from xslim.passes.fusion import EVERY_FUSION
from xslim.passes.preparation import prepare

__all__ = ["EVERY_FUSION", "Parts", "join", "prepare", "split"]
