"""A copy of an exported model whose convolutions compute in bfloat16.

    python benchmarks/bfloat16_model.py MODEL FOLDER

Only transforms have convolutions (docs/exactness.md), so the copy is the same codec with other
floating point: it has the model's fingerprint, and each decodes the other's files. A synthesis in
integers stays as it is.
"""

import argparse
import json
import pathlib
import shutil
import sys

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfclic.format import model as model_format  # noqa: E402
from tfclic.runtime import checksums  # noqa: E402

SYNTHESIS = "synthesise"  # in the name of a function


def convert(model, folder):
    """Copies a SavedModel to `folder`, with float32 convolutions replaced.

    Args:
      model: its folder.
      folder: where the copy goes; must not exist.

    Returns:
      How many convolutions were replaced.
    """
    folder = pathlib.Path(shutil.copytree(model, folder))
    path = folder / "saved_model.pb"
    proto = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    of_graphs = (each.graph_def.library.function for each in proto.meta_graphs)
    functions = [function for each in of_graphs for function in each]
    card = folder / model_format.CARD
    about = json.loads(card.read_text()) if card.exists() else {}
    if about.get("pixels"):
        functions = [each for each in functions if SYNTHESIS not in each.signature.name]
    count = sum(map(_convert_function, functions))
    path.write_bytes(proto.SerializeToString())
    if "checksums" in about:
        card.write_text(json.dumps({**about, "checksums": checksums.of_files(folder)}))
    return count


def _convert_function(function):
    renamed = {}
    for node in list(function.node_def):
        if node.op == "Conv2D" and node.attr["T"].type == types_pb2.DT_FLOAT:
            for i in range(2):
                cast = _cast(function, f"{node.name}/input_{i}", node.input[i], True)
                node.input[i] = f"{cast}:y:0"
            node.attr["T"].type = types_pb2.DT_BFLOAT16
            output = f"{node.name}:output:0"
            renamed[output] = f"{_cast(function, f'{node.name}/output', output, False)}:y:0"
    own = set(renamed.values())
    for node in function.node_def:
        if f"{node.name}:y:0" not in own:
            node.input[:] = [renamed.get(name, name) for name in node.input]
    for key, name in function.ret.items():
        function.ret[key] = renamed.get(name, name)
    return len(renamed)


def _cast(function, name, value, shorten):
    types = (types_pb2.DT_FLOAT, types_pb2.DT_BFLOAT16)
    cast = function.node_def.add(name=name, op="Cast", input=[value])
    cast.attr["SrcT"].type, cast.attr["DstT"].type = types if shorten else types[::-1]
    return name


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of an exported model, NAME/1")
    parser.add_argument("folder", metavar="FOLDER", help="where the copy goes; must not exist")
    args = parser.parse_args()
    print(convert(args.model, args.folder), "convolutions replaced")


if __name__ == "__main__":
    main()
