"""Functions for operators of the target that are not standard; any runtime can run their bodies."""

from __future__ import annotations

import onnx_ir as ir

from xslim.graph.ops import opset

DOMAIN = "spacemit_functions"
VERSION = 1

_HEADER = '<domain: "{domain}", opset_import: ["" : {opset}]>'

WINDOW_BODY = """
{name} <window_size, perm> (x, split, merge) => (y) {{
    parts = Reshape (x, split)
    ordered = Transpose <perm: ints = @perm> (parts)
    y = Reshape (ordered, merge)
}}
"""

_YOLO_HEAD = """
YoloDecode <num_class, reg_max> (x, flat_weight, sub_const, add_const, mul_const) => (y) {{
    one = Constant <value_ints: ints = [1]> ()
    four = Constant <value_ints: ints = [4]> ()
    bins_number = Constant <value_int: int = @reg_max> ()
    bins = Reshape (bins_number, one)
    classes_number = Constant <value_int: int = @num_class> ()
    classes = Reshape (classes_number, one)
    sides = Mul (four, bins)
    parts = Concat <axis: int = 0> (sides, classes)
    box_logits, class_logits = Split <axis: int = 1> (x, parts)
"""

# The distance to each side is the expectation over its bins (distribution focal loss).
_YOLO_BINS = """
    zero = Constant <value_ints: ints = [0]> ()
    rest = Constant <value_ints: ints = [-1]> ()
    grid = Concat <axis: int = 0> (zero, four, bins, rest)
    logits = Reshape (box_logits, grid)
    probabilities = Softmax <axis: int = 2> (logits)
    column = Constant <value_ints: ints = [1, 1, -1, 1]> ()
    weight = Reshape (flat_weight, column)
    weighted = Mul (probabilities, weight)
    bin_axis = Constant <value_ints: ints = [2]> ()
    distances = ReduceSum <keepdims: int = 0> (weighted, bin_axis)
"""

_YOLO_PLAIN = """
    distances = Mul (box_logits, flat_weight)
"""

_YOLO_TAIL = """
    halves = Constant <value_ints: ints = [2, 2]> ()
    left_top, right_bottom = Split <axis: int = 1> (distances, halves)
    low = Sub (sub_const, left_top)
    high = Add (add_const, right_bottom)
    centre = Mean (low, high)
    extent = Sub (high, low)
    box = Concat <axis: int = 1> (centre, extent)
    boxes = Mul (box, mul_const)
    scores = Sigmoid (class_logits)
    y = Concat <axis: int = 1> (boxes, scores)
}}
"""

YOLO_BODY = _YOLO_HEAD + _YOLO_BINS + _YOLO_TAIL
# In heads without bins (reg_max 1) the box logits are the distances.
YOLO_BODY_WITHOUT_BINS = _YOLO_HEAD + _YOLO_PLAIN + _YOLO_TAIL


def add_function(model: ir.Model, name: str, body: str) -> None:
    """Add a function of `DOMAIN` in the model's opset, unless the model has it already.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place.
    name : str
        Operator name.
    body : str
        The function in ONNX text format, with ``{name}`` for the name and doubled braces.
    """
    from onnx import parser

    if (DOMAIN, name, "") in model.functions:
        return
    header = _HEADER.format(domain=DOMAIN, opset=opset(model))
    function = ir.serde.deserialize_function(parser.parse_function(header + body.format(name=name)))
    model.functions[function.identifier()] = function
    model.opset_imports[DOMAIN] = VERSION
