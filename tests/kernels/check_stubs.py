"""Compare ``_native.pyi`` with the compiled extension: names, parameters, kinds and defaults.

Run by ``make lint``; exits with status 1 and one line per difference.
"""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

from xslim import _native

STUB = Path(_native.__file__).with_name("_native.pyi")
Signature = list[tuple[str, str, str | None]]


def stub_signature(function: ast.FunctionDef) -> Signature:
    """Name, kind and default of every parameter; ``self`` excepted."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + [
        ast.unparse(d) for d in arguments.defaults
    ]
    found = [(a.arg, "positional", d) for a, d in zip(positional, defaults, strict=True)]
    found += [
        (a.arg, "keyword", None if d is None else ast.unparse(d))
        for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return [item for item in found if item[0] != "self"]


def binary_signature(function: object) -> Signature:
    """The same of a compiled function."""
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [
        (
            p.name,
            "keyword" if p.kind is p.KEYWORD_ONLY else "positional",
            None if p.default is p.empty else repr(p.default),
        )
        for p in parameters
        if p.name not in ("self", "$self")
    ]


def public(names: object) -> set[str]:
    return {name for name in names if not name.startswith("_")}  # type: ignore[attr-defined]


def compare(place: str, stub: ast.FunctionDef, function: object) -> list[str]:
    declared, found = stub_signature(stub), binary_signature(function)
    # The binary shows defaults that are not literals as an ellipsis.
    written = {name: default for name, _, default in declared if default is not None}
    found = [(n, k, written.get(n, d) if d == "Ellipsis" else d) for n, k, d in found]
    return [] if declared == found else [f"{place}: the stub has {declared}, the binary {found}"]


def compare_class(stub: ast.ClassDef, compiled: type) -> list[str]:
    members = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    differences = compare_names(stub.name, public(members), public(vars(compiled)))
    for name in public(members) & public(vars(compiled)):
        is_property = any(
            isinstance(d, ast.Name) and d.id == "property" for d in members[name].decorator_list
        )
        value = inspect.getattr_static(compiled, name)
        if is_property != inspect.isgetsetdescriptor(value):
            differences.append(f"{stub.name}.{name}: a property on one side only")
        elif not is_property:
            differences += compare(f"{stub.name}.{name}", members[name], getattr(compiled, name))
    return differences


def compare_names(place: str, declared: set[str], found: set[str]) -> list[str]:
    missing = [f"{place}: {name} is in the stub only" for name in sorted(declared - found)]
    return missing + [f"{place}: {name} is in the binary only" for name in sorted(found - declared)]


def main() -> int:
    nodes = ast.parse(STUB.read_text()).body
    members = {n.name: n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    differences = compare_names("_native", public(members), public(vars(_native)))
    for name in public(members) & public(vars(_native)):
        node, compiled = members[name], getattr(_native, name)
        if isinstance(node, ast.ClassDef):
            differences += compare_class(node, compiled)
        else:
            differences += compare(name, node, compiled)
    print("\n".join(differences) or f"{STUB.name} agrees with the binary")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
