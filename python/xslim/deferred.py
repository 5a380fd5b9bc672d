"""Import sympy and onnx.reference only when somebody computes with them.

onnx_ir imports sympy for its symbolic dimensions, and uses it only if somebody computes with them, as runs of
XSlim hardly ever do. onnxscript imports onnx.reference for folding, and uses it only if there is something to
fold. Of the 0.67 s that the imports of a static run take otherwise, 0.19 s are those of sympy and 0.04 s
those of onnx.reference.

`defer_imports` makes ``import sympy`` and ``import onnx.reference`` in the modules `USERS` give a stand-in,
which does the import when an attribute is missing and passes everything on. `CALLED` are the exception:
onnx_ir puts these functions in a table while it is imported, so until then each of them is a function that
imports sympy when it is called. Code that does anything else works the same, and only loses the gain.

Only the module that imports it knows a stand-in. It is never in `sys.modules`, so ``import sympy`` gives
sympy itself everywhere else, in every thread and at any time.
"""

from __future__ import annotations

import builtins
import sys
from types import ModuleType

# As in xslim/__init__.py: importing typing takes long.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from typing import Any

USERS = {
    "onnx_ir._core": "sympy",
    "onnx_ir._symbolic_shapes": "sympy",
    "onnxscript._internal.evaluator": "onnx.reference",
    "onnxscript.optimizer._constant_folding": "onnx.reference.ops",
}
"""The modules whose imports are deferred, and what each of them imports late."""
CALLED = {"sympy": ("Max", "Min", "Mod", "floor", "sqrt")}


def defer_imports() -> None:
    """Defer the imports of all modules in `USERS` that are imported from now on."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the modules `USERS`, and leaves everything else to the finders behind."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        late = USERS.get(name)
        if late is None or late in sys.modules:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, late)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads a module that gets a stand-in where it imports `late` or the package of `late`."""

    def __init__(self, loader: Loader, late: str) -> None:
        self.loader, self.late = loader, late

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        stand_in = _StandIn(self.late)
        package = stand_in.__name__

        def import_(name: str, *arguments: Any, **options: Any) -> ModuleType:
            names = arguments[2] if len(arguments) > 2 else ()
            if names or options or name.partition(".")[0] != package:
                return builtins.__import__(name, *arguments, **options)
            if name != self.late:
                stand_in._take(name)
            return stand_in

        assert module.__spec__ is not None
        # Whoever asks for the source of the module later asks its own loader.
        module.__spec__.loader = module.__loader__ = self.loader
        # The import statement looks up __import__ in the builtins of the module.
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_}
        self.loader.exec_module(module)
        stand_in._called = ()


class _StandIn(ModuleType):
    """Has the attributes of a package, and imports the module `late` of it when one of them is missing."""

    def __init__(self, late: str) -> None:
        super().__init__(late.partition(".")[0])
        self._late = late
        self._called = CALLED.get(late, ())

    def _take(self, name: str) -> ModuleType:
        """Import a module, and take over the attributes that its package has then."""
        package = builtins.__import__(name)
        vars(self).update(vars(package))
        return package

    def __getattr__(self, name: str) -> Any:
        if name in self._called:
            return lambda *arguments: getattr(builtins.__import__(self._late), name)(*arguments)
        return getattr(self._take(self._late), name)
