"""The schema of a model: what skops wrote of each of its parts, and all that it may say."""

import json
import math
import re

import numpy as np

from featbus.persistence._archive import ModelFileError
from featbus.persistence._trust import is_trusted

# The fields of each kind of node; no model has the other kinds that skops knows, such as bound
# methods, partial functions, constructors, sets and compressed arrays.
_FIELDS = {
    "BytesNode": {"file": str},
    "DTypeNode": {"content": dict},
    "DictNode": {"key_types": dict, "content": dict},
    "FunctionNode": {},
    "JsonNode": {"content": str, "is_json": bool},
    "ListNode": {"content": list},
    "LossNode": {"content": dict, "__reduce__": dict},
    "MaskedArrayNode": {"content": dict},
    "NdArrayNode": {"content": list, "shape": dict, "type": str, "file": str},
    "ObjectNode": {"content": dict},
    "RandomStateNode": {"content": dict},
    "SliceNode": {"content": dict},
    "TreeNode": {"content": dict, "__reduce__": dict},
    "TupleNode": {"content": list},
    "TypeNode": {},
}
_COMMON = {"__class__": str, "__module__": str, "__loader__": str, "__id__": int}
# Fields whose content is a dict that is no node.
_INNER = {
    ("MaskedArrayNode", "content"): {"data", "mask"},
    ("SliceNode", "content"): {"start", "stop", "step"},
    ("LossNode", "__reduce__"): {"args"},
    ("TreeNode", "__reduce__"): {"args"},
}
_FILE = re.compile(r"[0-9]{1,20}\.npy|[0-9a-f-]{36}\.bin", re.ASCII)
_ENDINGS = {"BytesNode": ".bin", "NdArrayNode": ".npy"}
_PROTOCOL = 2  # of skops; earlier ones let a file ask for other nodes
_EXPANSION = 20  # what the visits of a schema's nodes may be, times the nodes
_SCALARS = "biufcSUMm"  # kinds of dtypes


def _slots(node):
    """Yield the places of a node's children, in the order in which skops reads them."""
    loader, content = node["__loader__"], node.get("content")
    if loader not in _FIELDS:
        return
    if loader == "DictNode":
        yield node, "key_types"
    if loader in ("DictNode", "MaskedArrayNode"):
        yield from ((content, key) for key in content)
    elif isinstance(content, list):
        yield from ((content, index) for index in range(len(content)))
    elif isinstance(content, dict) and loader != "SliceNode":
        yield node, "content"
    if "shape" in node:
        yield node, "shape"
    if "__reduce__" in node:
        yield node["__reduce__"], "args"


def share_parts(schema):
    """Write each part of a schema once, in place; skops repeats what several others have.

    Parameters
    ----------
    schema : dict
        What skops wrote of a pipeline. Ids become small numbers, and each repetition of a part
        becomes a reference, a node that has only the id.

    Returns
    -------
    set of str
        The files that the schema names.
    """
    numbers, files = {}, set()

    def share(node):
        node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        files.add(node.get("file"))
        for place, key in _slots(node):
            number = numbers.get(place[key]["__id__"])
            if number is None:
                share(place[key])
            else:
                place[key] = {"__id__": number}

    share(schema)
    return files - {None}


def check_schema(schema):
    """Refuse a schema that is not of the form that `save` writes.

    Every node has a kind, a type and fields that are known here, and is defined once: what skops
    will read is what is checked, in whatever order it reads. So the objects of a loaded pipeline
    are in lists, tuples, dicts, arrays and attributes only, where `parts_of` finds them.

    Parameters
    ----------
    schema : dict
        The schema; `share_parts` made it.

    Returns
    -------
    files : dict of str to str
        The files that the schema names, and the types that they become.
    lengths : dict of str to int
        The length of each array that a decision tree is made of, by its file.
    """
    root = {name: value for name, value in schema.items() if name != "_skops_version"}
    protocol = root.pop("protocol", None)
    if type(protocol) is not int or protocol < _PROTOCOL:
        raise ModelFileError(f"its protocol is {protocol!r}, expected {_PROTOCOL}.")
    check = _Check()
    n_visits = check.visit(root)
    if n_visits > _EXPANSION * check.n_nodes:
        raise ModelFileError(f"its schema repeats {check.n_nodes} parts {n_visits} times.")
    return check.files, check.lengths


class _Check:
    """A walk through a schema; `files` is what it found, `n_nodes` how many nodes there are."""

    def __init__(self):
        self.files, self.lengths, self.n_nodes = {}, {}, 0
        self._nodes = {}  # by their id
        self._visits = {}  # of each node that has been read as a whole, by its id

    def visit(self, node, where=()):
        """Check a node and all inside, and return how many nodes skops visits there."""
        self.n_nodes += 1
        if not isinstance(node, dict):
            _refuse("no part", where)
        number = node.get("__id__")
        if type(number) is not int:
            _refuse("no id", where)
        if len(node) == 1:  # a reference
            return self._visits.get(number) or _refuse("an id that was not given before", where)
        _check_form(node, where)
        _check_type(node, where)
        if number in self._visits:
            _refuse("an id for the second time", where)
        self._visits[number], self._nodes[number] = 0, node
        self._note_file(node, where)
        visits = 1 + sum(
            self.visit(place[key], (where, key) if _is_named(node, place) else where)
            for place, key in _slots(node)
        )
        self._visits[number] = visits
        if node["__loader__"] == "TreeNode":
            self._note_lengths(node, where)
        return visits

    def _note_lengths(self, tree, where):
        """Note how many numbers the constructor of a tree reads from its array, unchecked."""
        arguments = self._nodes[tree["__reduce__"]["args"]["__id__"]]
        content = arguments.get("content")
        items = content if isinstance(content, list) else []
        items = [self._nodes[item["__id__"]] for item in items]
        if [item["__loader__"] for item in items] != ["JsonNode", "NdArrayNode", "JsonNode"]:
            _refuse("a decision tree of other arguments", where)
        n_outputs = json.loads(items[2]["content"])
        if type(n_outputs) is not int or self.lengths.get(items[1]["file"], n_outputs) != n_outputs:
            _refuse("a decision tree of other outputs", where)
        self.lengths[items[1]["file"]] = n_outputs

    def _note_file(self, node, where):
        ending, name = _ENDINGS.get(node["__loader__"]), node.get("file")
        if ending is None or node.get("type") == "json":
            return
        if not (isinstance(name, str) and _FILE.fullmatch(name) and name.endswith(ending)):
            _refuse(f"the file {name!r}", where)
        if name in self.files:
            _refuse(f"the file {name!r} for the second time", where)
        self.files[name] = node["__class__"]


def _is_named(node, place):
    """Tell whether the keys of a place are names or positions that a user knows."""
    return place is node.get("content") and node["__loader__"] != "MaskedArrayNode"


def _check_form(node, where):
    """Refuse a node of another kind, or with fields that its kind does not have."""
    loader = node.get("__loader__")
    if not isinstance(loader, str) or loader not in _FIELDS:
        _refuse(f"{node.get('__module__')}.{node.get('__class__')} as {loader}", where)
    fields = _COMMON | _FIELDS[loader]
    for name, value in node.items():
        inner = _INNER.get((loader, name))
        if type(value) is not fields.get(name) or (inner and set(value) != inner):
            _refuse(f"an unexpected field {name!r} of {loader}", where)
    if len(node.keys() & _COMMON) < len(_COMMON):
        _refuse(f"{loader} without a type", where)


def _check_type(node, where):
    loader, content = node["__loader__"], node.get("content")
    name = f"{node['__module__']}.{node['__class__']}"
    if not is_trusted(loader, name):
        _refuse(f"{name} as {loader}", where)
    if loader == "JsonNode" and content.lstrip().startswith(("[", "{")):
        _refuse("JSON that is neither text nor a number", where)
    if loader == "SliceNode" and {type(item) for item in content.values()} - {int, type(None)}:
        _refuse("a slice of something other than integers", where)


def _refuse(found, where):
    keys = []
    while where:
        where, key = where
        keys.append(str(key))
    raise ModelFileError(
        f"found {found}{' in ' + '.'.join(reversed(keys)) if keys else ''}, which no model has. "
        "Functions and classes of your own, lambdas, bound methods, partial functions, random "
        "generators and distributions do not travel: replace them by names, integers, lists or "
        "functions of NumPy."
    )


def find_type(schema, name):
    """Return where a type is in a schema.

    Parameters
    ----------
    schema : dict
        The schema, checked.
    name : str
        The full name of a type.

    Returns
    -------
    str
        Names and positions, such as ``steps.0.1.func``; "" for the pipeline itself.
    """
    pending = [(schema, ())]
    while pending:
        node, keys = pending.pop()
        if f"{node.get('__module__')}.{node.get('__class__')}" == name:
            return ".".join(keys)
        if "__loader__" in node:
            for place, key in _slots(node):
                named = (str(key),) if _is_named(node, place) else ()
                pending.append((place[key], (*keys, *named)))
    return ""


def check_array(file, size, kind="ndarray", length=None):
    """Refuse the file of an array that asks for more memory than it has bytes.

    Parameters
    ----------
    file : file object
        What `numpy.save` wrote.
    size : int
        Its number of bytes.
    kind : str, default="ndarray"
        What becomes of it: "ndarray", or the name of NumPy's scalar.
    length : int or None, default=None
        The only length that it may have; None for any shape.
    """
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = read[version](file)
    n_bytes = math.prod(shape) * dtype.itemsize
    is_scalar = shape == () and dtype.kind in _SCALARS
    if (
        dtype.hasobject
        or n_bytes != size - file.tell()
        or (not n_bytes and math.prod(shape))
        or (kind != "ndarray" and not is_scalar)
        or (length is not None and shape != (length,))
    ):
        raise ModelFileError(f"found an array {shape} of {dtype} in {size} bytes.")
