"""Run models: the only package that imports onnxruntime."""

from xslim.runtime.agreement import FAIR_DB, GOOD_DB, array_pairs, disagreement
from xslim.runtime.blocked import Blocked, BlockedSession, blocked_session
from xslim.runtime.columns import ColumnErrors, LostColumns, Split, split_columns
from xslim.runtime.engine import device_in_use
from xslim.runtime.isolated import Isolated, Runs, with_less_optimisation
from xslim.runtime.memory import copied, give_back
from xslim.runtime.pool import Pool
from xslim.runtime.random_input import random_feeds
from xslim.runtime.session import Feeds, Session, free_copies, is_lean_for_few_runs
from xslim.runtime.signatures import Signature, needs_onnxruntime, signature, state_types
from xslim.runtime.stepwise import Stepwise
from xslim.runtime.threads import thread_count
from xslim.runtime.unknown import is_gap, require_runnable, unknown_operators

__all__ = [
    "FAIR_DB",
    "GOOD_DB",
    "Blocked",
    "BlockedSession",
    "ColumnErrors",
    "Feeds",
    "Isolated",
    "LostColumns",
    "Pool",
    "Runs",
    "Session",
    "Signature",
    "Split",
    "Stepwise",
    "array_pairs",
    "blocked_session",
    "copied",
    "device_in_use",
    "disagreement",
    "free_copies",
    "give_back",
    "is_gap",
    "is_lean_for_few_runs",
    "needs_onnxruntime",
    "random_feeds",
    "require_runnable",
    "signature",
    "split_columns",
    "state_types",
    "thread_count",
    "unknown_operators",
    "with_less_optimisation",
]
