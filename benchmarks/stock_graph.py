"""Whether a graph is one that a TensorFlow library runs: operations, attributes, kernels, versions.

Loading checks the nodes of the graph alone; those of its functions are looked at when they are
first called. Here all of them are held against what the library says it has.
"""

from tfclic.format import served

PREDICT = "tensorflow/serving/predict"
DEVICES = "CPU", "DEFAULT"  # of kernels that a machine without accelerators runs


def faults(graph, operations, kernels, versions):
    """Whatever a library would not run of a graph, a list of sentences.

    Args:
      graph: MetaGraphDef.
      operations, kernels, versions: OpList, KernelList and VersionDef, the library's.
    """
    known = {each.name: each for each in operations.op}
    by_operation = {}
    for each in kernels.kernel:
        if each.device_type in DEVICES:
            by_operation.setdefault(each.op, []).append(each)
    library = graph.graph_def.library
    functions = {each.signature.name for each in library.function}
    found = []
    for node in all_nodes(graph):
        if node.op in functions:
            continue
        definition = known.get(node.op)
        if definition is None:
            found.append(f"there is no operation {node.op}")
            continue
        wrong = _wrong_attributes(node, definition, functions)
        there = by_operation.get(node.op, [])
        if not wrong and not any(_fits(each, node, definition) for each in there):
            wrong = ["it has no kernel for these types"]
        if "PyFunc" in node.op:
            wrong.append("it needs Python")
        if definition.deprecation.version and (
            definition.deprecation.version <= graph.graph_def.versions.producer
        ):
            wrong.append(f"it is deprecated: {definition.deprecation.explanation}")
        found.extend(f"{node.op}: {each}" for each in wrong)
    ours = graph.graph_def.versions
    if ours.min_consumer > versions.producer or versions.producer in ours.bad_consumers:
        found.append(f"graphs of version {ours.producer} need a newer one than {versions.producer}")
    if ours.producer < versions.min_consumer:
        found.append(f"graphs of version {ours.producer} are too old")
    found.extend(f"it needs the file {each.filename}" for each in graph.asset_file_def)
    return [*dict.fromkeys(found), *_faults_of_signatures(graph)]


def all_nodes(graph):
    """Those of the graph, and of all functions in its library."""
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _wrong_attributes(node, definition, functions):
    """What is wrong with the attributes of a node, a list."""
    known = {each.name: each for each in definition.attr}
    # names that begin so are notes, which whoever does not know them ignores
    given = {name: value for name, value in node.attr.items() if not name.startswith("_")}
    found = [f"no attribute {name} is known" for name in given if name not in known]
    for name, each in known.items():
        if name not in given:
            if not each.HasField("default_value"):
                found.append(f"the attribute {name} is missing")
            continue
        value, kind = given[name], each.type
        if value.WhichOneof("value") == "placeholder":
            continue
        if kind == "func" and value.func.name not in functions:
            found.append(f"there is no function {value.func.name}")
        types = list(value.list.type) if kind == "list(type)" else [value.type]
        allowed = set(each.allowed_values.list.type)
        if kind in ("type", "list(type)") and allowed and not allowed.issuperset(types):
            found.append(f"the attribute {name} has another type than is allowed")
        words = set(each.allowed_values.list.s)
        if kind == "string" and words and value.s not in words:
            found.append(f"the attribute {name} is {value.s!r}")
    return found


def _fits(kernel, node, definition):
    """Whether a kernel is for the types of a node."""
    default = {each.name: each.default_value for each in definition.attr}
    for constraint in kernel.constraint:
        value = node.attr[constraint.name] if constraint.name in node.attr else None
        value = default.get(constraint.name) if value is None else value
        if value is None:
            return False
        types = list(value.list.type) or [value.type]
        allowed = set(constraint.allowed_values.list.type)
        if allowed and not allowed.issuperset(types):
            return False
    return True


def _faults_of_signatures(graph):
    """What the server would not take, or write, of the signatures for servers."""
    for function in served.SERVED:
        if function.name not in graph.signature_def:
            yield f"there is no signature {function.name}"
            continue
        signature = graph.signature_def[function.name]
        if signature.method_name != PREDICT:
            yield f"{function.name} is of the kind {signature.method_name}"
        for infos in (signature.inputs, signature.outputs):
            for name, info in infos.items():
                if [dim.size for dim in info.tensor_shape.dim] != [-1]:
                    yield f"{name} of {function.name} is no batch"
