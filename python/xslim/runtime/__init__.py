"""Running models: the only part of the package that knows onnxruntime."""

from xslim.runtime.random_input import random_feeds
from xslim.runtime.session import Feeds, Session, thread_count
from xslim.runtime.stepwise import Stepwise
from xslim.runtime.unknown import require_runnable, unknown_operators

__all__ = [
    "Feeds",
    "Session",
    "Stepwise",
    "random_feeds",
    "require_runnable",
    "thread_count",
    "unknown_operators",
]
