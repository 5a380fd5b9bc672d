"""Running models: the only part of the package that knows onnxruntime."""

from xslim.runtime.random_input import random_feeds
from xslim.runtime.session import Feeds, Session, thread_count

__all__ = ["Feeds", "Session", "random_feeds", "thread_count"]
