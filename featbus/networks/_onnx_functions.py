"""Local functions of an ONNX model: refused if they grow beyond bounds when they are inlined."""

from featbus.networks._onnx_checks import DEEPEST, MOST_NODES, iter_graphs, plain_domain

_LONGEST = 512  # characters of a name; attributes of calls have twice as many bytes


def check_functions(model, largest):
    """Refuse local functions that call themselves, or that grow beyond bounds when inlined.

    Parameters
    ----------
    model : onnx.ModelProto
        The model before inlining.
    largest : int
        Bytes that it may have afterwards.

    Raises
    ------
    ValueError
        If it is refused.
    """
    functions = {_key(function, function.name): function for function in model.functions}
    if len(functions) < len(model.functions):
        raise ValueError("several of its functions have one name.")
    sizes = {}

    def measure(body, parents):
        """Return the number of nodes and bytes of a body in which all functions are inlined."""
        n_nodes, n_bytes = 0, body.ByteSize()
        for graph in iter_graphs(body):
            n_bytes += _LONGEST * (len(graph.output) + len(getattr(graph, "value_info", ())))
            for node in graph.node:
                key = _key(node, node.op_type)
                _check_call(node, key in functions)
                inner = _measured(key, functions, sizes, parents, measure)
                n_nodes, n_bytes = n_nodes + inner[0], n_bytes + inner[1] + _inserted(node)
        return n_nodes, n_bytes

    for function in model.functions:
        _check_attributes(function.attribute_proto, function.name)
    n_nodes, n_bytes = measure(model.graph, ())
    if n_nodes > MOST_NODES or n_bytes > largest:
        raise ValueError(
            f"it has {n_nodes} nodes and {n_bytes} bytes with its functions inlined, expected at "
            f"most {MOST_NODES} and {largest}."
        )


def _key(found, name):
    """Return what identifies a function: onnx joins these texts with colons."""
    key = plain_domain(found.domain), name, getattr(found, "overload", "")
    if any(":" in text for text in key):
        raise ValueError(f"a function or operator of it has a colon in its name: {name[:80]!r}.")
    return key


def _check_call(node, is_function):
    """Refuse names and arguments that grow when they get into each place that reads them."""
    if any(len(name) > _LONGEST for name in (*node.input, *node.output)):
        raise ValueError(f"it has names of more than {_LONGEST} characters beside functions.")
    if is_function:
        _check_attributes(node.attribute, node.op_type)


def _check_attributes(attributes, name):
    for attribute in attributes:
        is_graph = attribute.HasField("g") or attribute.graphs
        if is_graph or attribute.ByteSize() > 2 * _LONGEST:
            raise ValueError(
                f"its function {name[:80]!r} gets a graph or a large tensor as attribute. Export "
                "it without functions, or inline them with onnx.inliner."
            )


def _inserted(node):
    """Return the bytes that names and arguments of functions may add to a node."""
    places = len(node.input) + len(node.output)
    return _LONGEST * (places + 2 * sum(bool(a.ref_attr_name) for a in node.attribute))


def _measured(key, functions, sizes, parents, measure):
    """Return nodes and bytes of what a node calls, measuring each function once."""
    if key not in functions:
        return 1, 0
    if key in parents or len(parents) > 4 * DEEPEST:
        raise ValueError(
            f"its function {key[1][:80]!r} calls itself, or calls are nested too deep."
        )
    if key not in sizes:
        sizes[key] = measure(functions[key], (*parents, key))
    return sizes[key]
