"""The record of how much the channels of a tensor differ, and of what was done about that."""

from __future__ import annotations

from dataclasses import dataclass


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
