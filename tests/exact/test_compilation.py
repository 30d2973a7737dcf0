"""XLA, told to compile whatever it can, leaves coders alone."""

import json
import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from tfclic.exact import compilation
from tfclic.export import saving

FLAGS = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"


def save_coding(codec, path):
    """A SavedModel with the coding alone, for XLA takes seconds for the transforms.

    Returns:
      Its function `encode`.
    """
    coding = codec.entropy_coder()
    size = tf.TensorSpec([], tf.int32)
    grids = [tf.TensorSpec([None, None, count]) for count in (coding.layout.hyper_channels, 6)]

    @tf.function(input_signature=grids, autograph=False)
    def encode(hyper, latents):
        string = coding.compress(hyper, latents)
        return {"string": string, "bits": coding.total_bits(coding.statistics(hyper, latents))}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string), size, size], autograph=False)
    def decode(string, height, width):
        return {"latents": coding.decompress(string, height, width)}

    with saving.unoptimized():
        encode, decode = (f.get_concrete_function() for f in (encode, decode))
        tf.saved_model.save(coding, str(path), {"encode": encode, "decode": decode})
    return encode


PROGRAM = """if True:
    import json, sys
    import numpy as np
    from tfclic.runtime import session
    coding = session.Session(sys.argv[1], json.loads(sys.argv[2]))
    given = np.load(sys.argv[3])
    encoded = coding.run("encode", hyper=given["hyper"], latents=given["latents"])
    sizes = dict(zip(("height", "width"), map(np.int32, given["latents"].shape)))
    decoded = coding.run("decode", string=encoded["string"], **sizes)["latents"]
    assert (decoded == given["latents"]).all()
    print(encoded["string"].hex())
"""


def test_strings_are_the_same_with_automatic_clustering(codec, tmp_path):
    path, data = tmp_path / "coding", tmp_path / "given.npz"
    encode = save_coding(codec, path)
    rng = np.random.default_rng(0)
    given = {"latents": rng.normal(0, 3, (8, 12, 6)), "hyper": rng.normal(0, 3, (2, 3, 4))}
    given = {name: np.round(value).astype(np.float32) for name, value in given.items()}
    np.savez(data, **given)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, path, json.dumps(saving.functions(path)), data],
        env={**os.environ, "TF_XLA_FLAGS": FLAGS},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-1000:]
    without = encode(**{name: tf.constant(value) for name, value in given.items()})
    assert run.stdout.strip() == without["string"].numpy().hex()


def test_only_what_is_wrapped_is_left_out():
    @tf.function
    def both(x):
        return compilation.uncompiled(tf.square)(x) + tf.exp(x)

    operations = both.get_concrete_function(tf.ones([])).graph.get_operations()
    marked = {op.type for op in operations if "_XlaCompile" in op.node_def.attr}
    assert marked == {"Square"}
    assert compilation.uncompiled(tf.square)(tf.constant(3.0)) == 9
