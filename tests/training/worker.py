"""bin/train with the codec in fake.py, in a process that has been forked for it.

`GIVEN`, which whoever runs this file has to pass, says all of it: `folder` to work in, `arguments`
of bin/train, variables of the `environment`, `output` and `log`, files for what is printed, and

devices: logical CPU devices to have. patience: seconds to wait for the other workers. at, signal:
step before which to send itself a signal.
"""

import os
import pathlib
import sys
import types

import tensorflow as tf

import tfclic
from tfclic.cli import train
from tfclic.training import step, strategies

given = GIVEN  # noqa: F821
os.chdir(given["folder"])
os.environ.pop("TF_CONFIG", None)
os.environ.update(given["environment"])
for file, name in ((1, "output"), (2, "log")):
    os.dup2(os.open(given[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), file)
sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake  # noqa: E402

stand_in = types.ModuleType("tfclic.models")
stand_in.build = lambda config: fake.FakeCodec(config.lmbdas, config.channels)
sys.modules["tfclic.models"] = tfclic.models = stand_in

if "devices" in given:
    logical = [tf.config.LogicalDeviceConfiguration()] * given["devices"]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)

strategies.PATIENCE = given.get("patience", strategies.PATIENCE)

if "at" in given:
    seed_of = step.seed_of

    def signalling(run_seed, number):
        if number == given["at"]:
            os.kill(os.getpid(), given["signal"])
        return seed_of(run_seed, number)

    step.seed_of = signalling

train.main(["train", *given["arguments"]])
