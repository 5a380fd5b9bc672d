"""Import sympy only when onnx_ir computes with it.

onnx_ir imports sympy for its symbolic dimensions, and uses it only if somebody computes with them, as runs of
XSlim hardly ever do. Importing sympy takes 0.3 of the 0.9 s that the imports of a static run take.

`defer_sympy` makes the statement ``import sympy`` of the modules `USERS` give a stand-in, which imports
sympy when an attribute is read and passes everything on. `CALLED` are the exception: `USERS` put these
functions in a table while they are imported, so until then each of them is a function that imports sympy when
it is called. Code that does anything else with sympy works the same, and only loses the gain.

The stand-in is known to the modules `USERS` alone. It is never in `sys.modules`, so ``import sympy`` gives
sympy itself everywhere else, in every thread and at any time.
"""

from __future__ import annotations

import builtins
import sys
from types import ModuleType

# As in xslim/__init__.py: importing typing takes long.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from typing import Any

SYMPY = "sympy"
USERS = ("onnx_ir._core", "onnx_ir._symbolic_shapes")
CALLED = ("Max", "Min", "Mod", "floor", "sqrt")


def defer_sympy() -> None:
    """Defer sympy for onnx_ir, unless one of them has been imported already."""
    if not {SYMPY, *USERS} & set(sys.modules):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the modules `USERS`, and leaves everything else to the finders behind."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in USERS or SYMPY in sys.modules:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module whose ``import sympy`` gives the stand-in."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        sympy = _StandIn(SYMPY)

        def import_(name: str, *arguments: Any, **options: Any) -> ModuleType:
            names = arguments[2] if len(arguments) > 2 else ()
            if name == SYMPY and not names:
                return sympy
            return builtins.__import__(name, *arguments, **options)

        assert module.__spec__ is not None
        # Whoever asks for the source of the module later asks its own loader.
        module.__spec__.loader = module.__loader__ = self.loader
        # The import statement looks up __import__ in the builtins of the module.
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
        self.loader.exec_module(module)
        vars(sympy)["complete"] = True


class _StandIn(ModuleType):
    """Has the attributes of sympy, and imports it when one is read."""

    complete = False

    def __getattr__(self, name: str) -> Any:
        if name in CALLED and not self.complete:
            return _later(name)
        from importlib import import_module

        sympy = import_module(SYMPY)
        # From now on, attributes are found without this method.
        vars(self).update(vars(sympy))
        return getattr(sympy, name)


def _later(name: str) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(SYMPY), name)(*arguments, **options)

    return call
