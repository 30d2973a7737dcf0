"""bin/train with the codec in fake.py, as a process of its own.

    worker.py '{"devices": 2, "at": 3, "signal": 9}' --model=... [further arguments of bin/train]

devices: logical CPU devices to have. patience: seconds to wait for the other workers. at, signal:
step before which to send itself a signal.
"""

import json
import os
import sys
import types

import fake
import tensorflow as tf

import tfclic
from tfclic.cli import train
from tfclic.training import step, strategies

options = json.loads(sys.argv[1])
stand_in = types.ModuleType("tfclic.models")
stand_in.build = lambda config: fake.FakeCodec(config.lmbdas, config.channels)
sys.modules["tfclic.models"] = tfclic.models = stand_in

if "devices" in options:
    logical = [tf.config.LogicalDeviceConfiguration()] * options["devices"]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)

strategies.PATIENCE = options.get("patience", strategies.PATIENCE)

if "at" in options:
    seed_of = step.seed_of

    def signalling(run_seed, number):
        if number == options["at"]:
            os.kill(os.getpid(), options["signal"])
        return seed_of(run_seed, number)

    step.seed_of = signalling

train.main(["train", *sys.argv[2:]])
