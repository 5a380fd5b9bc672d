"""Settings of hypothesis: no deadline per example, because the properties do not concern time."""

from hypothesis import settings

settings.register_profile("kernels", deadline=None)
settings.load_profile("kernels")
