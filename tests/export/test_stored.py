"""What an export stores becomes a codec again, of which the same would be stored."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, errors, models
from tfclic.entropy import coders
from tfclic.exact import fixed_point, rounding
from tfclic.export import stored
from tfclic.runtime import catalog
from tfclic.training import building

SMALL = dict(
    latent_channels=6,
    widths=(4, 4, 4),
    hyper_channels=4,
    feature_channels=8,
    parameter_channels=(10, 8),
    fine_widths=(8, 8, 5),
    coarse_widths=(6, 6, 4),
    coarse_features=8,
    prediction_widths=(6, 7, 8),
    lmbdas=(0.0016, 0.045),
)
# parts that an export has nothing of
LOST = {
    "factorized": {"activity", "prior"},
    "coarse_to_fine_small": {"fine_prior"},
    "cca_small": {"auxiliary"},
}


def config_of(name):
    """The model's part of a configuration, small enough for tests."""
    _, config = configuration.load(name)
    changes = {**SMALL, "parameter_channels": 10} if name == "gmm_attention_small" else SMALL
    if name == "cca_small":
        changes = dict(latent_channels=12, widths=(4, 4, 4), hyper_channels=4, hyper_width=6)
        changes.update(slices=3, support_channels=8, slice_widths=(8, 6), lmbdas=SMALL["lmbdas"])
    config.model.update({k: v for k, v in changes.items() if k in config.model})
    return config.model


def trained(config):
    """A codec whose variables are all different from how they begin, as those of its name are."""
    tf.keras.utils.set_random_seed(3)
    codec = models.build(config)
    building.build_variables(codec)
    codec.activity.assign(tf.random.stateless_uniform(codec.activity.shape, [1, 2]))
    for i, variable in enumerate(codec.trainable_variables):
        noise = tf.random.stateless_normal(variable.shape, [i, 0], stddev=0.02)
        variable.assign_add(noise)
    return codec


@pytest.fixture
def write(write_weights):
    """A function: the weights of an export, and its `catalog.Model`, without the graph."""

    def write(codec, config, folder):
        path = folder / "tiny" / "1"
        return write_weights(codec, path, config={"model": config.to_dict()}), catalog.at(path)

    return write


def dense_layers(coding, codec):
    """The integer layers of which an export has nothing more precise."""
    in_floats = {module.name for module in codec.transforms()}
    layers = (m for m in coding.submodules if isinstance(m, fixed_point.FixedPointDense))
    return [layer for layer in layers if layer.name.rpartition("_")[0] not in in_floats]


@pytest.mark.parametrize(
    "name",
    [
        "factorized",
        "hyperprior",
        "joint",
        "gmm_attention_small",
        "coarse_to_fine_small",
        "cca_small",
    ],
)
def test_what_is_read_would_be_stored_again(name, write, tmp_path):
    config = config_of(name)
    codec = trained(config)
    made, model = write(codec, config, tmp_path)
    tf.keras.utils.set_random_seed(4)
    found, given = stored.read(model, building.build_variables)

    given = {id(v) for v in given}
    paths = building.variable_paths(found)
    assert {p.split("/")[0] for p, v in paths.items() if id(v) not in given} == LOST.get(
        name, set()
    )
    for path, variable in building.variable_paths(codec).items():
        if id(paths[path]) in given and "prior" not in path:
            # kernels have 8 bits; biases are as fine as the sums that they are added to
            error = 0.01 * np.abs(variable).max() + 0.002
            np.testing.assert_allclose(paths[path], variable, atol=error, err_msg=path)

    again = stored.StoredCodec(found)
    for weight, other in zip(made.weights, again.weights, strict=True):
        np.testing.assert_array_equal(*map(tf.convert_to_tensor, (weight, other)))
    layers = [dense_layers(each.coding, codec) for each in (made, again)]
    for name, names in made.coding.names.items():
        np.testing.assert_array_equal(names.table, again.coding.names[name].table)
    for layer, other in zip(*layers, strict=True):
        for variable, of_other in zip(layer.variables, other.variables, strict=True):
            np.testing.assert_array_equal(variable, of_other, layer.name)
    if made.coding.streams:
        difference = np.array(made.coding.table) - np.array(again.coding.table)
        assert np.abs(difference).max() / 2**coders.PRECISION < 0.01


@pytest.mark.parametrize("name", ["gmm_attention_small", "cca_small", "coarse_to_fine_small"])
def test_models_that_are_shipped_can_be_read(name):
    # their variables are where `tfclic.export.earlier` finds them; fingerprints are compared
    found, given = stored.read(catalog.find(name), building.build_variables)
    given = {id(v) for v in given}
    paths = building.variable_paths(found).items()
    lost = {path.split("/")[0] for path, variable in paths if id(variable) not in given}
    values = tf.train.load_checkpoint(str(catalog.find(name).path / "variables" / "variables"))
    has_names = any(path.startswith("coding/names/") for path in values.get_variable_to_shape_map())
    # of revisions before 3 there are none
    unnamed = set() if has_names else {"activity"}
    assert lost == {*unnamed, *LOST.get(name, set())} - {"auxiliary"}


@pytest.mark.parametrize("name", ["factorized", "hyperprior", "coarse_to_fine_small"])
def test_an_export_of_an_export_stores_the_same(name, write, tmp_path):
    config = config_of(name)
    made, model = write(trained(config), config, tmp_path)
    tf.keras.utils.set_random_seed(4)
    found, like = stored.reread(model, building.build_variables)
    # densities were fitted to tables
    assert stored.StoredCodec(found).digest() != made.digest()
    again = stored.StoredCodec(found, like)
    assert again.digest() == made.digest() and again.digest().hex() == model.fingerprint
    assert again.coding.least_bits == made.coding.least_bits
    for layer, other in zip(again.coding.layers(), made.coding.layers(), strict=True):
        assert layer.groups == other.groups


def test_models_of_an_earlier_revision_are_not_exported_again(write, tmp_path):
    config = config_of("hyperprior")
    made, model = write(trained(config), config, tmp_path)
    card = dataclasses.replace(model.card, fingerprint=made.digest(2).hex())
    with pytest.raises(errors.ModelError, match="export its run again"):
        stored.reread(dataclasses.replace(model, card=card), building.build_variables)


def test_revisions_of_a_coding_have_fingerprints_of_their_own(write, tmp_path):
    config = config_of("hyperprior")
    made, model = write(trained(config), config, tmp_path)
    assert made.coding.revision == 3
    assert made.digest() == made.digest(3)
    assert len({made.digest(revision) for revision in range(4)}) == 4
    # weights of an earlier revision are weights all the same
    card = dataclasses.replace(model.card, fingerprint=made.digest(0).hex())
    stored.read(dataclasses.replace(model, card=card), building.build_variables)
    made.coding.revision = 4
    assert made.digest() not in [made.digest(revision) for revision in range(4)]


def test_models_without_names_of_channels_are_of_an_earlier_revision(write, tmp_path, monkeypatch):
    config = config_of("cca_small")
    codec = trained(config)

    class Earlier(stored.StoredCodec):
        def __init__(self, codec):
            super().__init__(codec)
            self.coding.names, self.coding.revision = {}, 2

    with monkeypatch.context() as patch:
        patch.setattr(stored, "StoredCodec", Earlier)
        _, model = write(codec, config, tmp_path)
    found, given = stored.read(model, building.build_variables)
    np.testing.assert_array_equal(found.activity, models.build(config).activity)
    assert found.activity.ref() not in {v.ref() for v in given}
    assert found.gain.base.ref() in {v.ref() for v in given}


def test_what_cannot_be_read_is_refused(write, tmp_path):
    config = config_of("hyperprior")
    _, model = write(trained(config), config, tmp_path)
    narrow = {**config.to_dict(), "latent_channels": 5}
    for changes, message in (
        ({"fingerprint": "00ff00ff"}, "are not those of its card"),
        ({"config": {"model": narrow}}, "cannot be read"),
        ({"config": {}}, "cannot be read"),
    ):
        card = dataclasses.replace(model.card, **changes)
        with pytest.raises(errors.ModelError, match=message):
            stored.read(dataclasses.replace(model, card=card), building.build_variables)


def test_large_kernels_have_bytes(write, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 50)
    config = config_of("cca_small")
    codec = trained(config)
    made, model = write(codec, config, tmp_path)
    encoder = {id(v) for module in codec.encoder() for v in module.variables}
    of_bytes = {
        number
        for number, weight in made.stand_ins(codec).items()
        if isinstance(weight, stored.Bytes)
    }
    assert of_bytes & encoder and of_bytes - encoder
    assert all(len(v.shape) == 4 for v in codec.variables if id(v) in of_bytes - encoder)
    assert not of_bytes & {id(v) for v in codec.gain.variables}
    for variable in codec.variables:
        if id(variable) in of_bytes:
            found = tf.convert_to_tensor(made.stand_ins(codec)[id(variable)])
            peaks = np.abs(variable).max(tuple(range(len(variable.shape) - 1)))
            assert np.all(np.abs(found - variable) <= 0.51 * peaks / rounding.KERNEL_LIMIT)
    found, like = stored.reread(model, building.build_variables)
    assert stored.StoredCodec(found, like).digest() == made.digest()
    np.testing.assert_allclose(
        found.analysis(tf.ones([1, 64, 64, 3])), codec.analysis(tf.ones([1, 64, 64, 3])), atol=0.1
    )


def test_exports_without_bytes_stay_without(write, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 50)
    config = config_of("hyperprior")
    codec = trained(config)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "LARGE", 10**9)
        made, model = write(codec, config, tmp_path)
    found, like = stored.reread(model, building.build_variables)
    again = stored.StoredCodec(found, like)
    assert again.digest() == made.digest()
    assert not any(isinstance(weight, stored.Bytes) for weight in again.weights)
    assert any(isinstance(weight, stored.Bytes) for weight in stored.StoredCodec(found).weights)
