"""Making the graph of a SavedModel small, which every start reads whole.

What TensorFlow writes is for people and tools to look at: operations inside of functions have the
names of the Python that made them, and so have the arguments of every branch and every body of a
loop, which take all the variables that they read as arguments. Here they get names of one to three
letters, functions that are the same become one, and notes that nothing reads go. What takes long at
a start and is of no use, such as to infer shapes within functions, is asked not to happen. What a
graph computes, and what can be asked of it from outside, is as before.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue, NameAttrList
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

# What TensorFlow notes at every operation of a graph and needs no more when it is whole: shapes are
# inferred anew, and of XLA's marks only `_XlaCompile` says what to leave alone.
IDLE_NOTES = (
    "_output_shapes",
    "_user_specified_name",
    "_XlaScope",
    "_XlaSeparateCompiledGradients",
)
# At a call: whoever loads the graph is not to infer the shapes of results from the function's
# operations, nor from those of functions that these call, time and again. Signatures tell them.
NOT_INFERRED = "_disable_call_shape_inference"
CONTROL = "^"  # before an operation that an input only waits for
PLACED = "_class"  # names operations beside which one has to be


def compact(graph: MetaGraphDef) -> None:
    """Makes the functions of a graph as small as they can be.

    Operations outside of functions, where signatures point to, keep their names, and so do the
    arguments and results of functions that objects of a SavedModel refer to.

    Args:
      graph: changed in place.
    """
    asked_for = set(graph.object_graph_def.concrete_functions)
    library = graph.graph_def.library.function
    for function in library:
        _drop_notes(function)
        _rename(function, function.signature.name in asked_for)
    _merge(graph, asked_for)
    for node in graph.graph_def.node:
        if any(called for attribute in node.attr.values() for called in _calls(attribute)):
            node.attr[NOT_INFERRED].b = True


def _drop_notes(function: FunctionDef) -> None:
    for noted in (*function.node_def, *function.arg_attr.values()):
        for name in IDLE_NOTES:
            noted.attr.pop(name, None)
    for number in [number for number, noted in function.arg_attr.items() if not noted.attr]:
        del function.arg_attr[number]


def _names() -> Iterator[str]:
    """All names of small letters, the short ones first."""
    for length in itertools.count(1):
        yield from map("".join, itertools.product(string.ascii_lowercase, repeat=length))


def _rename(function: FunctionDef, is_asked_for: bool) -> None:
    """Gives everything inside of a function a short name.

    Args:
      function: changed in place.
      is_asked_for: whether arguments and results are known outside by their names, and keep them.
    """
    signature, nodes = function.signature, function.node_def
    kept = [arg.name for arg in signature.input_arg] if is_asked_for else []
    free = (name for name in _names() if name not in kept)
    names = {name: name for name in kept}
    for named in (*([] if is_asked_for else signature.input_arg), *nodes):
        names[named.name] = named.name = next(free)

    def new(reference: str) -> str:
        """Of what an input refers to: `name`, `name:result:number` or `^name`."""
        is_control = reference.startswith(CONTROL)
        name, colon, rest = reference[is_control:].partition(":")
        return CONTROL * is_control + names[name] + colon + rest

    for node in nodes:
        node.input[:] = map(new, node.input)
        if PLACED in node.attr:
            del node.attr[PLACED]  # all of it is on one processor
    results = {key: new(value) for key, value in function.ret.items()}
    waits = {key: names[value] for key, value in function.control_ret.items()}
    if not is_asked_for:
        letters = _names()
        new_keys = {arg.name: next(letters) for arg in signature.output_arg}
        for arg in signature.output_arg:
            arg.name = new_keys[arg.name]
        results = {new_keys[key]: value for key, value in results.items()}
        letters = _names()
        new_keys = {key: next(letters) for key in signature.control_output}
        signature.control_output[:] = new_keys.values()
        waits = {new_keys[key]: value for key, value in waits.items()}
    for field, content in ((function.ret, results), (function.control_ret, waits)):
        field.clear()
        field.update(content)


def _merge(graph: MetaGraphDef, asked_for: set[str]) -> None:
    """Leaves one of all functions that are the same but for their names."""
    library = graph.graph_def.library
    while True:
        first: dict[bytes, str] = {}
        replaced = {}
        # those that have to stay come first
        for function in sorted(library.function, key=lambda f: f.signature.name not in asked_for):
            name = function.signature.name
            function.signature.name = ""
            content = function.SerializeToString(deterministic=True)
            function.signature.name = name
            known = first.setdefault(content, name)
            if known != name and name not in asked_for:
                replaced[name] = known
        if not replaced:
            return
        for number in reversed(range(len(library.function))):
            if library.function[number].signature.name in replaced:
                del library.function[number]
        for node in _all_nodes(graph):
            for attribute in node.attr.values():
                for called in _calls(attribute):
                    called.name = replaced.get(called.name, called.name)


def _all_nodes(graph: MetaGraphDef) -> Iterator[NodeDef]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _calls(attribute: AttrValue) -> Iterator[NameAttrList]:
    """The functions that an attribute names."""
    if attribute.HasField("func"):
        yield attribute.func
    yield from attribute.list.func
