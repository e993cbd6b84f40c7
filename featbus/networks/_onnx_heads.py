"""Linear layers in ONNX graphs: classifiers, and the projections of attention."""

_SCALING = {"Add", "Cast", "DequantizeLinear", "Div", "Mul", "QuantizeLinear", "Sub"}
_RESHAPING = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
# What may follow the last layers of a classifier: several heads, their mean, a temperature.
_AFTER_LOGITS = _SCALING | _RESHAPING | {"Concat", "Mean", "ReduceMean", "Sum"}
# What may follow the projections of attention.
_AFTER_PROJECTION = _SCALING | _RESHAPING | {"Gather", "Slice", "Split", "Transpose"}
_PRODUCTS = {"Einsum", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
_PROBABILITIES = {"LogSoftmax", "Sigmoid", "Softmax"}


def find_projections(model, shapes, axes):
    """Return the tensors that linear layers return, as the keys and values of attention are.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph, its nodes in topological order.
    shapes : dict of str to tuple of int or None
        Shapes of its tensors for one image.
    axes : dict of str to Axes or None
        The tensors that depend on the image.

    Returns
    -------
    set of str
        Names of tensors, also after a bias, a scale or a new shape. A residual sum is none.
    """
    found = set()
    for node in model.graph.node:
        # Scales of quantized networks depend on the image, but are no tokens.
        parts = [name for name in node.input if name in axes and _is_large(shapes.get(name))]
        follows = node.op_type in _AFTER_PROJECTION and len(parts) == 1 and parts[0] in found
        if follows or node.op_type in _PRODUCTS:
            found.update(node.output)
    return found


def _is_large(shape):
    return shape is None or len(shape) > 1


def is_classifier(makers, axes, maps, output):
    """Tell whether an output is that of classifiers: probabilities, or layers with a bias.

    Parameters
    ----------
    makers : dict of str to onnx.NodeProto
        By the name of a tensor, the node that computes it.
    axes : dict of str to Axes or None
        The tensors that depend on the image.
    maps : set of str
        Those that are feature maps of more than one cell.
    output : str
        The tensor.

    Returns
    -------
    bool
        True if it is: one head or several, averaged, joined or scaled, none of which is computed
        from another, as in a residual block.
    """
    heads, found, left = set(), set(), [output]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        node = makers.get(name)
        if node is None or name in maps:
            return False
        if _is_head(makers, node):
            heads.add(name)
        elif node.op_type in _AFTER_LOGITS:
            left += [part for part in node.input if part in axes]
        else:
            return False
    return not heads & _find_sources(makers, heads)


def _find_sources(makers, names):
    """Return the tensors that others are computed from."""
    found, left = set(), [part for name in names for part in makers[name].input]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += makers[name].input if name in makers else []
    return found


def _is_head(makers, node):
    """Tell whether a node is the last layer of a classifier."""
    if node.op_type == "Add":  # a Gemm in several nodes
        return any(_is_product(makers, name) for name in node.input)
    # The projections of CLIP and its relatives have no bias.
    has_bias = node.op_type in ("Conv", "Gemm") and len(node.input) == 3
    return has_bias or node.op_type in _PROBABILITIES


def _is_product(makers, name):
    """Tell whether a tensor is a product of matrices, quantized or not."""
    node = makers.get(name)
    if node is not None and node.op_type == "MatMul":
        return True
    while node is not None and node.op_type in ("Cast", "Mul"):  # a quantized one is rescaled
        node = makers.get(node.input[0])
    return node is not None and node.op_type == "MatMulInteger"
