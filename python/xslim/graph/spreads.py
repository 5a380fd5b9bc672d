"""The record of how much the channels of a tensor differ, and of what was done about that."""

from __future__ import annotations

from dataclasses import dataclass

LEFT_FLOAT = "left float"
NOTHING_DONE = "nothing"

STILL_WIDE = 8.0
"""A channel whose magnitude is an eighth of the largest one keeps five of eight bits."""


@dataclass(frozen=True)
class ChannelSpread:
    """The spread of the channels of one tensor.

    Attributes
    ----------
    tensor : str
        The tensor in the float model.
    before, after : float
        Largest magnitude of a channel over the median one, before and after equalisation. All channels share
        one scale, so a channel whose magnitude is a hundredth of the largest keeps two of the 256 levels.
    done : str
        What was done, in words.
    """

    tensor: str
    before: float
    after: float
    done: str

    @property
    def help(self) -> str:
        """What else would help, in words; empty if nothing is needed."""
        if self.done == LEFT_FLOAT or self.after < STILL_WIDE:
            return ""
        if self.done.startswith(NOTHING_DONE):
            return "list it in float_tensors; xslim tune says what that costs"
        return "finetune_level 2, or list it in float_tensors"
