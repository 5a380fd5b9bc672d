"""Convert a model to an older opset, operator by operator, according to the operators' schemas."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.ops import constant, is_standard, opset
from xslim.graph.outside import transform_proto
from xslim.passes.folding import fold_constants, infer_shapes

if TYPE_CHECKING:
    from onnx.defs import OpSchema

logger = logging.getLogger(__name__)

# Before this opset, operators had another meaning under the same signature (Softmax, BatchNormalization).
OLDEST = 13
# Operators whose meaning changed under the same signature after this opset.
_CHANGED_MEANING = ("GroupNormalization",)
# What attributes say now, and said before their default changed or they existed.
_WORDS = {
    ("GridSample", "mode"): {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"},
    ("RoiAlign", "coordinate_transformation_mode"): {"output_half_pixel": ""},
}
_INLINING_ROUNDS = 3


def lower_opset(model: ir.Model, target: int) -> ir.Model:
    """Return the model in opset `target`, which is below the one it imports.

    An operator that the older opset lacks is replaced by its function body if the standard defines one. An
    operator that has changed is kept if the older opset has all features that the node uses: new attributes
    must have their defaults, inputs that used to be attributes become attributes again, and the older opset
    must allow the element types.

    Raises
    ------
    ModelError
        The model cannot be converted; the error names operator, node and the feature that the older opset
        lacks.
    """
    current = opset(model)
    if target < OLDEST:
        raise ModelError(
            f"opset {current} cannot be converted below {OLDEST}", hint=f"choose {OLDEST} or more"
        )
    for _ in range(_INLINING_ROUNDS):
        missing = {node.op_type for node in model.graph.all_nodes() if _is_missing(node, target)}
        if not missing:
            break
        model = _inline(model, missing, target)
        infer_shapes(model)
        fold_constants(model)
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        version = body.opset_imports.get("", current)
        for node in body.all_nodes():
            if node.domain == "":
                _lower(node, version, target)
        body.opset_imports[""] = target
    logger.info("opset %d -> %d: asked for", current, target)
    return model


def _schema(op_type: str, version: int) -> OpSchema | None:
    from onnx import defs

    try:
        return defs.get_schema(op_type, version)
    except defs.SchemaError:
        return None


def _has_body(schema: OpSchema) -> bool:
    # onnx's type stubs leave these attributes out.
    return any(getattr(schema, name) for name in ("has_function", "has_context_dependent_function"))


def _is_missing(node: ir.Node, target: int) -> bool:
    return node.domain == "" and _schema(node.op_type, target) is None


def _inline(model: ir.Model, operators: set[str], target: int) -> ir.Model:
    from onnx import inliner

    for operator in sorted(operators):
        schema = _schema(operator, opset(model))
        if schema is None or not _has_body(schema):
            raise ModelError(
                f"operator {operator} does not exist in opset {target} and has no equivalent there",
                hint="choose another opset",
            )
    for node in model.graph.all_nodes():
        if is_standard(node, *operators):
            _state_defaults(node, opset(model))
    chosen = [("", operator) for operator in sorted(operators)]
    return transform_proto(
        model,
        lambda proto: inliner.inline_selected_functions(proto, chosen, inline_schema_functions=True),
    )


def _state_defaults(node: ir.Node, version: int) -> None:
    """Write the default attributes of a node out, because function bodies refer to them."""
    schema = _schema(node.op_type, version)
    for name, attribute in schema.attributes.items() if schema is not None else ():
        if name not in node.attributes and attribute.default_value.type:
            node.attributes.add(ir.serde.deserialize_attribute(attribute.default_value))


def _lower(node: ir.Node, current: int, target: int) -> None:
    now, then = _schema(node.op_type, current), _schema(node.op_type, target)
    if now is None or then is None:
        raise _refusal(node, target, "it does not exist there")
    if now.since_version == then.since_version:
        return
    if is_standard(node, *_CHANGED_MEANING):
        raise _refusal(node, target, "it meant something else there")
    _old_words(node, now, then, target)
    _inputs_to_attributes(node, now, then, target)
    _drop_default_attributes(node, now, then, target)
    _check_defaults(node, now, then, target)
    _check_types(node, then, target)
    if len(node.outputs) > then.max_output:
        raise _refusal(node, target, f"it has at most {then.max_output} outputs there")


def _old_words(node: ir.Node, now: OpSchema, then: OpSchema, target: int) -> None:
    """Say what an attribute says as the older opset says it."""
    for (operator, name), words in _WORDS.items():
        if not is_standard(node, operator) or _default(now, name) == _default_or_none(then, name):
            continue
        said = node.attributes.get_string(name, str(_default(now, name)))
        if said not in words:
            raise _refusal(node, target, f"its {name} cannot be {said} there")
        if name in then.attributes:
            node.attributes.add(ir.AttrString(name, words[said]))
        else:
            node.attributes.pop(name, None)


def _inputs_to_attributes(node: ir.Node, now: OpSchema, then: OpSchema, target: int) -> None:
    """Move constant inputs that used to be attributes of the same name back."""
    from onnx import defs

    for index in reversed(range(len(then.inputs), min(len(node.inputs), len(now.inputs)))):
        name, value = now.inputs[index].name, node.inputs[index]
        if value is not None:
            array = constant(value)
            if name not in then.attributes or array is None:
                raise _refusal(node, target, f"its input {name} does not exist there")
            numbers = [int(item) for item in array.reshape(-1)]
            single = then.attributes[name].type == defs.OpSchema.AttrType.INT
            node.attributes.add(ir.AttrInt64(name, numbers[0]) if single else ir.AttrInt64s(name, numbers))
        node.resize_inputs(index)
    names = [parameter.name for parameter in now.inputs[: len(then.inputs)]]
    moved = [name for name in names if name in then.attributes]
    if moved or len(node.inputs) > then.max_input:
        raise _refusal(node, target, "its inputs are others there")


def _drop_default_attributes(node: ir.Node, now: OpSchema, then: OpSchema, target: int) -> None:
    for name, attribute in list(node.attributes.items()):
        if name in then.attributes:
            continue
        default = _default(now, name)
        if attribute.value != default:
            raise _refusal(node, target, f"its attribute {name} does not exist there")
        node.attributes.pop(name)


def _check_defaults(node: ir.Node, now: OpSchema, then: OpSchema, target: int) -> None:
    """Write out attributes whose default differs in the older opset; refuse if a required one is missing."""
    for name, attribute in then.attributes.items():
        if name in node.attributes:
            continue
        if attribute.required:
            raise _refusal(node, target, f"its attribute {name} must be given there")
        if name in now.attributes and _default(now, name) != _default(then, name):
            raise _refusal(node, target, f"its attribute {name} has another default there")


def _default(schema: OpSchema, name: str) -> object:
    from onnx import helper

    value = schema.attributes[name].default_value
    if not value.type:
        return None
    default = helper.get_attribute_value(value)
    return default.decode() if isinstance(default, bytes) else default


def _default_or_none(schema: OpSchema, name: str) -> object:
    return _default(schema, name) if name in schema.attributes else None


def _check_types(node: ir.Node, then: OpSchema, target: int) -> None:
    allowed = {
        constraint.type_param_str: constraint.allowed_type_strs for constraint in then.type_constraints
    }
    for values, parameters in ((node.inputs, then.inputs), (node.outputs, then.outputs)):
        for value, parameter in zip(values, parameters, strict=False):
            types = allowed.get(parameter.type_str, [parameter.type_str])
            if value is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
                continue
            if f"tensor({_ONNX_NAMES.get(value.dtype.name, value.dtype.name.lower())})" not in types:
                raise _refusal(node, target, f"it takes no {value.dtype.name.lower()} there")


# The type strings of schemas that differ from the names of ir.DataType.
_ONNX_NAMES = {"FLOAT": "float", "DOUBLE": "double"}


def _refusal(node: ir.Node, target: int, reason: str) -> ModelError:
    return ModelError(
        f"operator {node.op_type} (node {node.name!r}) cannot be expressed in opset {target}: {reason}",
        hint="choose another opset",
    )
