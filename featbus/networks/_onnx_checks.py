"""What is refused in an ONNX model: all that is not one image in, the same numbers out."""

from collections import Counter

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_OLDEST_IR = 3  # the first that says which operators are meant
DEEPEST = 8  # graphs within graphs, such as the branches of If
MOST_NODES = 20_000  # after inlining; large networks have some thousands
_RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_UNBOUNDED = {"Loop", "Scan", "SequenceMap"}
_OTHER_VALUES = {
    "CategoryMapper",
    "CastMap",
    "ConcatFromSequence",
    "DictVectorizer",
    "ImageDecoder",
    "LabelEncoder",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
    "RegexFullMatch",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SplitToSequence",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    "ZipMap",
}
# Operators whose results have sizes that depend on the values of inputs, and the first of these. If
# they depended on the pixels, the trial of one image would prove nothing about another.
_DECIDED_BY = {
    **dict.fromkeys(("BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "If"), 0),
    **dict.fromkeys(("MelWeightMatrix", "NonMaxSuppression", "NonZero", "Range", "Unique"), 0),
    **dict.fromkeys(("AffineGrid", "CenterCropPad", "Col2Im", "Compress", "DFT", "Expand"), 1),
    **dict.fromkeys(("OneHot", "Pad", "Reshape", "Resize", "Slice", "Split", "STFT", "Tile"), 1),
    **dict.fromkeys(("TopK", "Upsample"), 1),
    "MaxUnpool": 2,
}
_INFERENCE = "Export the network in inference mode: call model.eval() before torch.onnx.export."


def iter_graphs(graph, depth=0):
    """Yield a graph and the graphs within it.

    Parameters
    ----------
    graph : onnx.GraphProto or onnx.FunctionProto
        The outermost one.
    depth : int, default=0
        Number of graphs around it.

    Yields
    ------
    onnx.GraphProto or onnx.FunctionProto
        The outermost one first.

    Raises
    ------
    ValueError
        If more than 8 lie within each other.
    """
    if depth > DEEPEST:
        raise ValueError(f"its graphs are nested more than {DEEPEST} deep.")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node or inner.initializer or inner.output:
                    yield from iter_graphs(inner, depth + 1)


def names_read(node):
    """Return the names of all that a node reads, its inner graphs included.

    Parameters
    ----------
    node : onnx.NodeProto
        The node.

    Returns
    -------
    set of str
        The names.
    """
    names = set(node.input)
    for attribute in node.attribute:
        for inner in [attribute.g, *attribute.graphs]:
            for graph in iter_graphs(inner):
                names.update(name for node in graph.node for name in node.input)
                names.update(value.name for value in graph.output)
    return names - {""}


def find_computed(graph, names):
    """Return the names of the tensors that depend on the pixels, not only on their number.

    Parameters
    ----------
    graph : onnx.GraphProto
        The graph, whose inner graphs are searched, too.
    names : set of str
        The names that are known to depend on the pixels, such as the input's.

    Returns
    -------
    set of str
        These names, and those of all that is computed from them.
    """
    found = set(names)
    _add_computed(graph, found)
    return found


def _add_computed(graph, names):
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                _add_computed(inner, names)
        if node.op_type not in ("Shape", "Size") and names & names_read(node):
            names.update(filter(None, node.output))


def check_versions(model):
    """Refuse a model without a graph, or of a format that the installed onnx does not know.

    Parameters
    ----------
    model : onnx.ModelProto
        What was read.

    Raises
    ------
    ValueError
        If it is refused.
    """
    import onnx

    if not model.graph.node or not model.graph.output:
        raise ValueError("it has no graph with nodes and outputs: it is no ONNX model.")
    if not _OLDEST_IR <= model.ir_version <= onnx.IR_VERSION:
        raise ValueError(
            f"its format is IR version {model.ir_version}, expected {_OLDEST_IR} to "
            f"{onnx.IR_VERSION}, which onnx {onnx.__version__} knows.{_upgrade(model)}"
        )
    opsets = {plain_domain(opset.domain): opset.version for opset in model.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opsets.get("", 1) <= newest:
        raise ValueError(
            f"it uses opset {opsets['']}, expected 1 to {newest}, which onnx {onnx.__version__} "
            "knows. Export with a lower opset_version, or: pip install -U onnx onnxruntime"
        )


def _upgrade(model):
    return " pip install -U onnx onnxruntime" if model.ir_version > _OLDEST_IR else ""


def plain_domain(domain):
    """Return a domain, that of ONNX's own operators by the first of its two names.

    Parameters
    ----------
    domain : str
        Where an operator is defined.

    Returns
    -------
    str
        The domain; "" for "ai.onnx".
    """
    return "" if domain == "ai.onnx" else domain


def check_graph(model):
    """Refuse a model whose operators or names are not allowed.

    Parameters
    ----------
    model : onnx.ModelProto
        The model, functions inlined.

    Raises
    ------
    ValueError
        If it is refused.
    """
    opset = next((o.version for o in model.opset_import if plain_domain(o.domain) == ""), 1)
    constants = _constants(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    images = {value.name for value in model.graph.input} - weights
    computed = find_computed(model.graph, images)
    n_nodes = sum(len(graph.node) for graph in iter_graphs(model.graph))
    if n_nodes > MOST_NODES:
        raise ValueError(f"it has {n_nodes} nodes, expected at most {MOST_NODES}.")
    for graph in iter_graphs(model.graph):
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        # Their values could be in a file that the digest does not cover.
        if graph.sparse_initializer or any(
            attribute.HasField("sparse_tensor") or attribute.sparse_tensors
            for attribute in attributes
        ):
            raise ValueError("it has sparse weights. Store them as ordinary tensors.")
        for node in graph.node:
            check_operator(node, opset, constants, computed)
        names = [tensor.name for tensor in graph.initializer]
        names += [name for node in graph.node for name in node.output if name]
        for name, count in Counter(names).items():
            if count > 1:
                raise ValueError(f"several of its tensors have the name {name!r}.")
            as_text(name)


def shorten(text, longest=500):
    """Return the start and the end of a text in one line.

    Parameters
    ----------
    text : str
        The text.
    longest : int, default=500
        Its number of characters.

    Returns
    -------
    str
        The text, the middle left out if it is longer.
    """
    text = " ".join(text.split())
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def as_text(name):
    """Return a text of a model, which may be any bytes.

    Parameters
    ----------
    name : str or bytes
        What protobuf reads as a text: bytes if it is not Unicode.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        If it is not Unicode.
    """
    if not isinstance(name, str):
        raise ValueError(f"its text {name[:80]!r} is not Unicode: it is damaged. Export it again.")
    return name


def check_operator(node, opset, constants, computed):
    """Refuse an operator that is not ONNX's own, or whose result depends on more than the image.

    Parameters
    ----------
    node : onnx.NodeProto
        The node.
    opset : int
        Version of ONNX's own operators.
    constants : dict of str to onnx.TensorProto
        Tensors that the model holds, by name.
    computed : set of str
        Names of the tensors that depend on the pixels.

    Raises
    ------
    ValueError
        If it is refused.
    """
    name, what = node.op_type, f"the operator {node.op_type}" + _where(node)
    if node.domain not in _DOMAINS:
        raise ValueError(
            f"it uses {what} of the domain {node.domain!r}, expected those of the ONNX standard. "
            "Export it without custom operators and without a runtime's own fused ones."
        )
    if name in _RANDOM:
        raise ValueError(f"it uses {what}: rows would depend on chance. {_INFERENCE}")
    if name in _UNBOUNDED:
        raise ValueError(f"it uses {what}: loops are not run. Export a fixed input size.")
    if name in _OTHER_VALUES:
        raise ValueError(f"it uses {what}, expected a network of plain tensors of numbers.")
    first = _DECIDED_BY.get(name, len(node.input))
    if computed.intersection(node.input[first:]):
        raise ValueError(
            f"it uses {what} on values of the image: sizes would depend on more than its height "
            "and width. Export only the part before."
        )
    if _is_training(node, opset, constants, computed):
        raise ValueError(
            f"it has {name} in training mode{_where(node)}: rows would depend on chance or on the "
            f"other images. {_INFERENCE}"
        )


def _where(node):
    return f" (node {node.name!r})" if node.name else ""


def _is_training(node, opset, constants, computed):
    """Tell whether dropout or batch normalization works as it does in training."""
    values = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type not in ("BatchNormalization", "Dropout") or node.domain == "ai.onnx.ml":
        return False
    if opset < 7:
        return not values.get("is_test")
    if node.op_type == "BatchNormalization":
        if node.input[0] not in computed:
            return False  # such as weights that are standardized
        return bool(values.get("training_mode")) or any(list(node.output)[1:])
    mode = list(node.input)[2:3]
    return bool(mode and mode[0]) and _is_true(constants.get(mode[0]))


def _is_true(tensor):
    """Tell whether a flag is set, or not known."""
    return tensor is None or any(tensor.raw_data) or any(tensor.int32_data)


def _constants(model):
    """Return the tensors that a model holds, by name."""
    found = {}
    for graph in iter_graphs(model.graph):
        found |= {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        found |= dict.fromkeys(node.output, attribute.t)
    return found


def check_input(model):
    """Return the one input of a model that is no weight.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.

    Returns
    -------
    onnx.ValueInfoProto
        The input.

    Raises
    ------
    ValueError
        If there are none or several, or it is no batch of images of float32 or float16.
    """
    from onnx import TensorProto as Tensor

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs[:10]) or "none"
        raise ValueError(
            f"its inputs are {names}, expected one: a batch of images. Export only the image part."
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (Tensor.FLOAT, Tensor.FLOAT16):
        raise ValueError(
            f"its input {inputs[0].name!r} is of type {type_name(kind.elem_type)}, expected FLOAT "
            "or FLOAT16: export it without preprocessing."
        )
    if kind.HasField("shape") and len(kind.shape.dim) != 4:
        raise ValueError(
            f"its input {inputs[0].name!r} has {len(kind.shape.dim)} dimensions, expected 4: "
            "images, channels, height and width, or channels last."
        )
    return inputs[0]


def type_name(elem_type):
    """Return the name of a type of numbers.

    Parameters
    ----------
    elem_type : int
        As ONNX counts them.

    Returns
    -------
    str
        Its name, or the number.
    """
    from onnx import TensorProto as Tensor

    known = elem_type in Tensor.DataType.values()
    return Tensor.DataType.Name(elem_type) if known else str(elem_type)
