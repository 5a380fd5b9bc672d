"""Graph preparation: any exported model, made small and canonical, with nothing changed outside."""

from xslim.passes.preparation import prepare

__all__ = ["prepare"]
