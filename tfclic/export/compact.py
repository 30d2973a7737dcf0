"""Making the graph of a SavedModel small, which every start reads whole.

What TensorFlow writes is for people and tools to look at: operations inside of functions have the
names of the Python that made them, and so have the arguments of every branch and every body of a
loop, which take all the variables that they read as arguments. Here they get names of one to three
letters, functions that are the same become one, and so do operations that are given the same; what
nothing needs goes, notes and the way to write variables included. What takes long at a start and
is of no use, such as to infer shapes within functions, is asked not to happen. What a graph
computes, and what can be asked of it from outside, is as before.

Nobody optimizes these graphs when they are loaded, since that takes longer than a photograph: what
is twice in one is computed twice.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tensorflow.python.framework import op_def_registry

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
    from tensorflow.core.framework.attr_value_pb2 import AttrValue, NameAttrList
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

Item = TypeVar("Item")

# What TensorFlow notes at every operation of a graph and needs no more when it is whole: shapes are
# inferred anew, and of XLA's marks only `_XlaCompile` says what to leave alone.
IDLE_NOTES = (
    "_output_shapes",
    "_user_specified_name",
    "_XlaScope",
    "_XlaSeparateCompiledGradients",
)
# What looks at variables. Restoring alone writes them, and comes before all else.
READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd")
WRITES = "Assign"  # what the names of operations begin with that change variables
# A list may be changed where it is, by who is the last to need it.
LISTS = "TensorList"
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
    _forget_saving(graph)
    for function in graph.graph_def.library.function:
        _drop_notes(function)
        _share(function)
        _drop_unused(function)
        _rename(function, function.signature.name in asked_for)
    _merge(graph, asked_for)
    _drop_uncalled(graph, asked_for)
    for node in graph.graph_def.node:
        if any(_called([node])):
            node.attr[NOT_INFERRED].b = True


def _forget_saving(graph: MetaGraphDef) -> None:
    """Takes away what writes variables to files, which is for those who train."""
    saver, nodes = graph.saver_def, graph.graph_def.node
    writes = _node_of(saver.save_tensor_name)
    others = {_node_of(reference) for node in nodes for reference in node.input}
    if not saver.restore_op_name or writes in others:
        return
    # TensorFlow wants a name there
    saver.save_tensor_name = saver.filename_tensor_name
    _keep(nodes, [node for node in nodes if node.name != writes])


def _node_of(reference: str) -> str:
    """The operation that an input refers to: `name`, `name:number` or `^name`."""
    return reference.lstrip(CONTROL).partition(":")[0]


def _keep(messages: RepeatedCompositeFieldContainer[Any], kept: list[Any]) -> None:
    """Leaves some of the operations of a graph or function, or of the functions of a library."""
    if len(kept) < len(messages):
        copies = [type(each).FromString(each.SerializeToString()) for each in kept]
        del messages[:]
        messages.extend(copies)


def _reached(
    begin: Iterable[str], known: Mapping[str, Item], leads_to: Callable[[Item], Iterable[str]]
) -> set[str]:
    """The names of what is `known` that one comes to from those to begin with."""
    found: set[str] = set()
    ahead = list(begin)
    while ahead:
        name = ahead.pop()
        if name in known and name not in found:
            found.add(name)
            ahead += leads_to(known[name])
    return found


def _drop_notes(function: FunctionDef) -> None:
    for noted in (*function.node_def, *function.arg_attr.values()):
        for name in IDLE_NOTES:
            noted.attr.pop(name, None)
    for number in [number for number, noted in function.arg_attr.items() if not noted.attr]:
        del function.arg_attr[number]


def _share(function: FunctionDef) -> None:
    """Leaves one of all operations that are the same but for their names."""
    nodes = function.node_def
    same = () if _writes(function) else READS
    may_be_one = [node for node in nodes if _is_pure(node) or node.op in same]
    replaced: dict[str, str] = {}
    while True:
        first: dict[bytes, str] = {}
        known = len(replaced)
        for node in may_be_one:
            if node.name in replaced:
                continue
            node.input[:] = _told(node, replaced)
            name, node.name = node.name, ""
            original = first.setdefault(node.SerializeToString(deterministic=True), name)
            node.name = name
            if original != name:
                replaced[name] = original
        if len(replaced) == known:
            break
    for node in nodes:
        node.input[:] = _told(node, replaced)
    for key, reference in list(function.ret.items()):
        function.ret[key] = _renamed(reference, replaced)
    for key, name in list(function.control_ret.items()):
        function.control_ret[key] = replaced.get(name, name)
    _keep(nodes, [node for node in nodes if node.name not in replaced])


def _writes(function: FunctionDef) -> bool:
    return any(node.op.startswith(WRITES) for node in function.node_def)


def _is_pure(node: NodeDef) -> bool:
    """Whether an operation does nothing but to compute what follows from its inputs."""
    definition = op_def_registry.get(node.op)
    return bool(definition) and not (
        definition.is_stateful or any(_called([node])) or node.op.startswith(LISTS)
    )


def _told(node: NodeDef, names: Mapping[str, str]) -> list[str]:
    """The inputs of an operation by new names, each that it only waits for once."""
    inputs = [_renamed(reference, names) for reference in node.input]
    values = [each for each in inputs if not each.startswith(CONTROL)]
    return values + list(dict.fromkeys(each for each in inputs if each.startswith(CONTROL)))


def _renamed(reference: str, names: Mapping[str, str]) -> str:
    """What an input refers to, `name`, `name:result:number` or `^name`, by new names."""
    is_control = reference.startswith(CONTROL)
    name, colon, rest = reference[is_control:].partition(":")
    return CONTROL * is_control + names.get(name, name) + colon + rest


def _drop_unused(function: FunctionDef) -> None:
    """Drops operations that no result follows from, unless they do something."""
    nodes = {node.name: node for node in function.node_def}
    # nobody has to wait for these
    reads = {CONTROL + node.name for node in nodes.values() if node.op in READS}
    if not _writes(function):
        for node in nodes.values():
            node.input[:] = [reference for reference in node.input if reference not in reads]
    for key, name in list(function.control_ret.items()):
        if CONTROL + name in reads:
            del function.control_ret[key]
            function.signature.control_output.remove(key)
    needed = [_node_of(reference) for reference in function.ret.values()]
    needed += function.control_ret.values()
    needed += [n.name for n in nodes.values() if not (_is_pure(n) or n.op in READS)]
    # arguments are not among these
    found = _reached(needed, nodes, lambda node: map(_node_of, node.input))
    _keep(function.node_def, [node for name, node in nodes.items() if name in found])


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

    for node in nodes:
        node.input[:] = _told(node, names)
        if PLACED in node.attr:
            del node.attr[PLACED]  # all of it is on one processor
    results = {key: _renamed(value, names) for key, value in function.ret.items()}
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
        functions = library.function
        _keep(functions, [each for each in functions if each.signature.name not in replaced])
        for node in _all_nodes(graph):
            for attribute in node.attr.values():
                for called in _calls(attribute):
                    called.name = replaced.get(called.name, called.name)


def _drop_uncalled(graph: MetaGraphDef, asked_for: set[str]) -> None:
    """Drops functions that nothing calls."""
    library = graph.graph_def.library
    functions = {function.signature.name: function for function in library.function}
    called = [*asked_for, *_called(graph.graph_def.node)]
    found = _reached(called, functions, lambda function: _called(function.node_def))
    _keep(library.function, [each for name, each in functions.items() if name in found])


def _called(nodes: Iterable[NodeDef]) -> Iterator[str]:
    for node in nodes:
        for attribute in node.attr.values():
            yield from (called.name for called in _calls(attribute))


def _all_nodes(graph: MetaGraphDef) -> Iterator[NodeDef]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _calls(attribute: AttrValue) -> Iterator[NameAttrList]:
    """The functions that an attribute names."""
    if attribute.HasField("func"):
        yield attribute.func
    yield from attribute.list.func
