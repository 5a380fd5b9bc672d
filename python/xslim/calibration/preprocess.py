"""Load and call a user's preprocessing function, named as ``"path/to/file.py:function"``."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xslim.calibration.arrays import Array, DType, NoArrayError, as_array, converted
from xslim.calibration.lists import Entry
from xslim.config import resolve_path, search_hint
from xslim.config.fields import split_preprocess
from xslim.errors import DataError


@dataclass(frozen=True)
class UserFunction:
    """A loaded preprocessing function.

    Attributes
    ----------
    name : str
        The reference to the function, as in the configuration.
    path : Path or None
        The file that defines the function; it can import modules of the same folder. None for a function that
        a dict configuration holds.
    function : callable
        Takes a list of paths and the input's parameters.
    parameters : dict
        The entry of ``input_parameters``, with shape and type filled in from the model.
    dtype : numpy.dtype
        Element type of the input.
    """

    name: str
    path: Path | None
    function: Callable[[list[str], dict[str, Any]], Any]
    parameters: dict[str, Any]
    dtype: DType

    def __call__(self, entries: Sequence[Entry]) -> Array:
        """Call the function for one batch.

        Raises
        ------
        DataError
            The function failed, or it did not return an array of numbers that suits the input.
        """
        paths = [str(entry.path) for entry in entries]
        where = f"{self.name} for {', '.join(entry.where for entry in entries)}"
        with (
            _blaming(
                "the function raised {}", where, "it is called with a list of paths and the input's entry"
            ),
            nullcontext() if self.path is None else _importable(self.path.parent),
        ):
            result = self.function(paths, dict(self.parameters))
            array = _array_or_none(result)
        if array is None:
            raise DataError(
                f"the function returned {type(result).__name__}, not a numpy array or a tensor on the CPU",
                where=where,
                hint="return one array for the whole list of paths",
            )
        return converted(array, self.dtype, where)


def given_function(
    function: Callable[[list[str], dict[str, Any]], Any], parameters: dict[str, Any], dtype: DType
) -> UserFunction:
    """Return a function of the user's program, which a dict configuration holds."""
    name = getattr(function, "__qualname__", type(function).__name__)
    return UserFunction(f"preprocess_file {name}", None, function, parameters, dtype)


def load_function(
    reference: str, parameters: dict[str, Any], dtype: DType, base_dir: Path | None
) -> UserFunction:
    """Load ``"path/to/file.py:function"``.

    Raises
    ------
    DataError
        The file is missing, importing it fails, or it does not define the function.
    """
    file, name = split_preprocess(reference)
    path = resolve_path(file, base_dir)
    if not path.is_file():
        raise DataError(
            "there is no such file",
            where=f"preprocess_file {path}",
            hint=search_hint("preprocess_file", file, base_dir),
        )
    function = load_user_function(path, name, f"preprocess_file {path}")
    return UserFunction(reference, path, function, parameters, dtype)


def load_user_function(path: Path, name: str, where: str) -> Callable[..., Any]:
    """Import a file of the user and return one of its functions.

    Raises
    ------
    DataError
        There is no such file, importing it fails, or it does not define the function.
    """
    if not path.is_file():
        raise DataError(
            "there is no such file", where=where, hint="the path is relative to the current folder"
        )
    hint = "the file has to be importable by itself"
    with _blaming("importing the file raised {}", where, hint), _importable(path.parent):
        module = _execute(path)
        function = getattr(module, name, None)
    if not callable(function):
        raise DataError(
            f"the file has no function {name!r}",
            where=where,
            hint=f"name it after a colon: {path.name}:{_own_functions(module) or 'function'}",
        )
    found: Callable[..., Any] = function
    return found


def _execute(path: Path) -> object:
    name = f"_xslim_preprocess_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Creating a dataclass looks its module up in sys.modules.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module


def _own_functions(module: object) -> str:
    """Return the names of the functions that a file defines, joined by "or"."""
    functions = [
        name
        for name, item in vars(module).items()
        if inspect.isfunction(item) and item.__module__ == getattr(module, "__name__", None)
    ]
    return " or ".join(functions)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make the modules of a folder importable while the context is open."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def _blaming(what: str, where: str, hint: str) -> Iterator[None]:
    """Turn every exception of the user's code, ``sys.exit`` included, into a DataError; Ctrl-C passes."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise DataError(what.format(_described(error)), where=where, hint=hint) from error


def _described(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException:  # noqa: BLE001 - the user's exception raises again when it is shown as text
        return name


def _array_or_none(value: object) -> Array | None:
    try:
        return as_array(value)
    except NoArrayError:
        return None
