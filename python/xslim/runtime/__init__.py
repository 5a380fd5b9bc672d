"""Running models: the only part of the package that knows onnxruntime."""

from xslim.runtime.random_input import random_feeds
from xslim.runtime.session import Feeds, Session, thread_count
from xslim.runtime.stepwise import Stepwise

__all__ = ["Feeds", "Session", "Stepwise", "random_feeds", "thread_count"]
