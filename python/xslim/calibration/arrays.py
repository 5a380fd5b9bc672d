"""Convert arrays from files and user functions to the element type of a model input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.errors import DataError

Array = NDArray[np.generic]
DType = np.dtype[np.generic]


class NoArrayError(ValueError):
    """A value is not an array; the text says why."""


def as_array(value: object) -> Array:
    """Convert a numpy array, a tensor with ``__array__`` or DLPack, or nested lists of numbers.

    Raises
    ------
    NoArrayError
        The value cannot be converted.
    """
    reason = f"it is {type(value).__name__}"
    converters: tuple[Callable[[Any], Any], ...] = (np.asarray, np.from_dlpack)
    for convert in converters:
        try:
            array: Array = convert(value)
        except AttributeError:
            continue
        except (TypeError, ValueError, RuntimeError, BufferError) as error:
            reason = str(error)
            continue
        if array.dtype != object:
            return array
    raise NoArrayError(reason)


def is_float(dtype: DType) -> bool:
    """Whether a type is a floating-point type; the types of ml_dtypes count as well."""
    # ml_dtypes registers bfloat16 and the 8-bit floats with numpy's kind for raw data.
    return dtype.kind == "f" or (dtype.kind == "V" and "float" in dtype.name)


def check_convertible(source: DType, target: DType, where: str) -> None:
    """Refuse a conversion that can only lose the meaning of the data.

    Raises
    ------
    DataError
        The source holds floats and the target is integer or boolean, or the source does not hold numbers.
    """
    numbers = source.kind in "biuf" or is_float(source)
    if not numbers or (is_float(source) and not is_float(target)):
        raise DataError(
            f"holds {source.name} values but the input is {target.name}",
            where=where,
            hint="save the array in the input's type",
        )


def converted(values: Array, target: DType, where: str) -> Array:
    """Return contiguous values in the input's type.

    Raises
    ------
    DataError
        A value is NaN or infinite, or does not fit into the type.
    """
    check_convertible(values.dtype, target, where)
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.ascontiguousarray(values, dtype=target).reshape(values.shape)
    if is_float(target):
        if not _all_finite(result):
            raise DataError(_why_not_finite(values, target), where=where, hint="repair or remove the sample")
    elif values.dtype != target and not np.array_equal(result, values):
        raise DataError(
            f"holds values that do not fit into the input's type {target.name}",
            where=where,
            hint="look for a wrong file",
        )
    return result


def _all_finite(values: Array) -> bool:
    finite: Any = np.isfinite(values) if values.dtype.kind == "f" else np.isfinite(values.astype(np.float32))
    return bool(finite.all())


def _why_not_finite(values: Array, target: DType) -> str:
    wide = values.astype(np.float64)
    if np.isfinite(wide).all():
        return f"holds values that do not fit into the input's type {target.name}"
    return "holds NaN" if np.isnan(wide).any() else "holds infinite values"
