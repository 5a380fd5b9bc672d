"""A tensor without a finite value is an error of the samples, not of XSlim."""

from __future__ import annotations

import numpy as np
import pytest

from xslim.errors import DataError
from xslim.graph.scheme import TensorGroup
from xslim.kernels import Sketch
from xslim.quantization.parameters import activation_params


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf, -np.inf]])
@pytest.mark.parametrize("method", ["default", "minmax", "kl", "percentile"])
def test_a_tensor_without_a_finite_value_is_named(values: list[float], method: str) -> None:
    sketch = Sketch()
    sketch.observe(np.array(values, np.float32))
    group = TensorGroup(("t",), ("t",), method, 0.9999, None, None)
    with pytest.raises(DataError, match="'t' has no finite value"):
        activation_params(group, {"t": sketch})
