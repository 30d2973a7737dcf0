"""Larger models begin by computing what a smaller one does."""

import numpy as np
import pytest
import tensorflow as tf

from tfclic import configuration, models
from tfclic.layers import QualityGain
from tfclic.layers.nafblock import ChannelNorm
from tfclic.training import building, growing

LMBDAS = (0.01, 0.04)
# of each system, its configuration made small
SMALL = {
    "factorized": {},
    "nonlinear_transforms": {},
    "hyperprior": {},
    "mean_scale": {},
    "joint": dict(parameter_channels=(10, 8)),
    "context_adaptive": dict(context_channels=8, parameter_channels=(10, 8)),
    "conditional_probability": dict(
        residual_groups=1, context_channels=5, probability_channels=(6, 5)
    ),
    "gmm_attention": dict(feature_channels=8, parameter_channels=10),
    "coarse_to_fine": dict(
        fine_widths=(4, 6, 5),
        coarse_widths=(5, 6, 4),
        coarse_features=8,
        prediction_widths=(4, 5, 6),
    ),
    "cca": dict(
        bottleneck_blocks=1,
        naf_blocks=1,
        hyper_width=6,
        slice_sizes=(1, 2, 3),
        support_channels=8,
        support_blocks=1,
        slice_widths=(8, 6),
    ),
    "elic": dict(
        bottleneck_blocks=1,
        latent_attention=False,
        feature_channels=8,
        group_sizes=(1, 2, 3),
        channel_widths=(6, 5),
        context_channels=4,
        parameter_channels=(10, 8),
    ),
}


def build(name, **changes):
    """A codec made small, with weights of its own."""
    _, config = configuration.load(name)
    small = dict(latent_channels=6, widths=(4, 4, 4), hyper_channels=4, lmbdas=LMBDAS)
    known = {key: value for key, value in small.items() if key in config.model}
    config.model.update({**known, **SMALL[name], **changes})
    codec = models.build(config.model)
    building.build_for_training(codec)
    return codec


def disturbed(codec):
    """The codec, as if it were trained: few of its latents and hyper latents are silent."""
    for variable in codec.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.1))
    return codec


def grow(small, large):
    """Gives `large` what it takes from `small`; returns the paths of what it does not."""
    growth, kept = growing.Growth(small, large), []
    for path, variable in building.variable_paths(large).items():
        value = growth.value(path, variable)
        if value is None:
            kept.append(path)
        else:
            variable.assign(value)
    return kept


@pytest.fixture(scope="module")
def images():
    return tf.random.stateless_uniform([2, 64, 64, 3], [1, 2])


def forward(codec, images, lmbda=LMBDAS[0]):
    return codec(images, tf.fill([2], codec.quality_of(codec.lmbdas.index(lmbda))))


def assert_same_pixels(before, after):
    within = 1e-5 * np.abs(before.reconstruction).max()
    np.testing.assert_allclose(before.reconstruction, after.reconstruction, atol=within)


LATENTS, SIDE = {"latent_channels"}, {"hyper_channels", "fine_widths", "coarse_widths"}
LARGER = {
    "latents": dict(latent_channels=8),
    "levels": dict(lmbdas=(*LMBDAS, 0.1)),
    "widths": dict(widths=(5, 6, 5)),
}
HYPER = {
    **LARGER,
    "hyper latents": dict(hyper_channels=6),
    "all": dict(latent_channels=9, widths=(6, 5, 4), lmbdas=(0.005, *LMBDAS), hyper_channels=5),
}
SLICES = dict(latent_channels=9, slice_sizes=(2, 2, 5))
GROUPS = dict(latent_channels=9, group_sizes=(2, 2, 5))
FEW_LAYERS = dict(bottleneck_blocks=0, naf_blocks=0, support_blocks=0, gap_weight=0.0)
GROWN = {
    "factorized": LARGER,
    "nonlinear_transforms": LARGER,
    "hyperprior": HYPER,
    "mean_scale": HYPER,
    "joint": {**HYPER, "parameters": dict(parameter_channels=(12, 9))},
    "context_adaptive": {
        **HYPER,
        "contexts": dict(context_channels=11, parameter_channels=(12, 9)),
    },
    "conditional_probability": {
        "levels": LARGER["levels"],
        "widths": LARGER["widths"],
        "context": dict(context_channels=7, probability_channels=(8, 6)),
    },
    "gmm_attention": HYPER,
    "coarse_to_fine": {
        **LARGER,
        "fine": dict(fine_widths=(5, 8, 7)),
        "coarse": dict(coarse_widths=(6, 8, 5), coarse_features=12),
        "predictions": dict(prediction_widths=(5, 7, 9)),
        "all": dict(
            latent_channels=9,
            widths=(6, 5, 4),
            lmbdas=(0.005, *LMBDAS),
            fine_widths=(6, 7, 7),
            coarse_widths=(6, 8, 5),
            coarse_features=12,
        ),
    },
    "cca": {
        "latents": SLICES,
        "levels": LARGER["levels"],
        "hyper latents": dict(hyper_channels=6),
        "entropy networks": dict(hyper_width=7, support_channels=11, slice_widths=(9, 7)),
        "all": dict(**SLICES, lmbdas=(0.005, *LMBDAS), hyper_channels=5, support_channels=10),
    },
    "elic": {
        "latents": GROUPS,
        "contexts": dict(channel_widths=(7, 6), context_channels=6, parameter_channels=(12, 9)),
        "all": dict(**GROUPS, widths=(6, 5, 4), lmbdas=(0.005, *LMBDAS), hyper_channels=5),
    },
}


@pytest.mark.parametrize("name", GROWN)
def test_a_larger_model_computes_what_the_smaller_one_does(name, images):
    small = disturbed(build(name))
    before = forward(small, images)
    for what, changes in GROWN[name].items():
        large = build(name, **changes)
        assert grow(small, large) == [], what
        after = forward(large, images)
        assert_same_pixels(before, after)
        if LATENTS & set(changes):
            continue
        for part, bits in before.parts.items():
            is_side = part in ("hyper_latents", "fine", "coarse")
            if not (is_side and SIDE & set(changes)):
                np.testing.assert_allclose(bits, after.parts[part], rtol=1e-3, err_msg=what)


def test_naf_blocks_grow_but_for_what_is_normalised(images):
    small = disturbed(build("cca", support_block="naf"))
    for module in small.submodules:
        if isinstance(module, ChannelNorm):
            module.scale.assign(tf.zeros_like(module.scale))
    large = build("cca", support_block="naf", widths=(5, 7, 6), support_channels=10)
    assert grow(small, large) == []
    before, after = forward(small, images), forward(large, images)
    assert_same_pixels(before, after)
    np.testing.assert_allclose(before.bits, after.bits, rtol=1e-3)


def test_new_latents_have_basis_functions_of_their_own():
    changes = dict(FEW_LAYERS, block_transform=True)
    small, large = build("cca", **changes), build("cca", **changes, **SLICES)
    assert grow(small, large) == []
    kernel, inverse = large.block_analysis.kernel.numpy(), large.block_synthesis.kernel.numpy()
    np.testing.assert_allclose(inverse @ kernel, np.eye(9), atol=1e-5)
    # slices of 1, 2 and 3 in those of 2, 2 and 5
    kept = kernel[:, [0, 2, 3, 4, 5, 6]]
    np.testing.assert_array_equal(kept, small.block_analysis.kernel)


def test_channels_are_in_use_as_often_as_before():
    changes = dict(FEW_LAYERS, lmbdas=LMBDAS)
    small = build("cca", **changes)
    small.activity.assign(tf.random.stateless_uniform([2, 6], [1, 2]))
    large = build("cca", **{**changes, **SLICES, "lmbdas": (0.005, 0.01, 0.02, 0.04)})
    new = large.activity.numpy()
    assert grow(small, large) == []
    # slices of 1, 2 and 3 in those of 2, 2 and 5
    kept, old = [0, 2, 3, 4, 5, 6], small.activity.numpy()
    between = [old[0], old[0], old.mean(0), old[1]]
    np.testing.assert_allclose(large.activity.numpy()[:, kept], between, rtol=1e-5)
    others = [1, 7, 8]
    np.testing.assert_array_equal(large.activity.numpy()[:, others], new[:, others])


def test_other_slices_do_not_fit():
    small = build("cca", **FEW_LAYERS)
    large = build("cca", **FEW_LAYERS, latent_channels=9, slice_sizes=(4, 5))
    kept = grow(small, large)
    assert {"nonlinear_analysis/layer-3/kernel", "gain/base"} <= set(kept)
    assert "nonlinear_analysis/layer-0/kernel" not in kept


@pytest.mark.parametrize(
    ("name", "path", "axes"),
    [
        ("hyperprior", "hyper_synthesis/layer-2/conv/kernel", [(3,), (3,), (4,), (6,)]),
        ("mean_scale", "hyper_synthesis/layer-2/conv/bias", [(6, 6)]),
        ("coarse_to_fine", "prediction/kernel_3", [(6,) * 9, (6, 6)]),
        ("coarse_to_fine", "fine_projection/kernel", [(3,), (3,), (2,) * 4, (5,)]),
        ("coarse_to_fine", "projection/kernel", [(3,), (3,), (6,), (6,)]),
    ],
)
def test_how_weights_are_put_together(name, path, axes):
    assert growing.axes_of(build(name))[path] == axes


def test_every_part_of_an_axis_grows_by_itself():
    value, beginning = np.arange(1, 9).reshape(2, 4), np.zeros([3, 6])
    found = growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (3, 3)], False)
    np.testing.assert_array_equal(found, [[1, 2, 0, 3, 4, 0], [5, 6, 0, 7, 8, 0], [0] * 6])
    assert growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (5, 1)], False) is None
    assert growing.grown(value, beginning, [(2,), (2, 2)], [(3,), (2, 2, 2)], False) is None


def test_nothing_listens_to_new_inputs():
    found = growing.grown(np.ones([1, 1]), np.full([2, 2], 7.0), [(1,), (1,)], [(2,), (2,)], True)
    np.testing.assert_array_equal(found, [[1, 7], [0, 0]])


def test_gains_at_other_lambdas():
    gain = QualityGain(2, LMBDAS, 45.0)
    gain.build(None)
    gain.base.assign_add([[0.5, -0.5]])
    gain.correction.assign([[0.0, 1.0], [2.0, 3.0]])
    lmbdas = (0.0025, 0.01, 0.02, 0.04, 0.16)
    other = QualityGain(2, lmbdas, 45.0)
    other.build(None)
    for name, value in gain.weights_at(lmbdas).items():
        getattr(other, name).assign(value)
    logs, own = other.log_gains().numpy(), gain.log_gains().numpy()
    np.testing.assert_allclose(logs[[1, 3]], own, atol=1e-4)
    np.testing.assert_allclose(logs[2], own.mean(0), atol=1e-4)
    # four times the lambda is twice the gain
    np.testing.assert_allclose(logs[4] - logs[3], np.log([2.0, 2.0]), atol=1e-4)
    np.testing.assert_allclose(logs[1] - logs[0], np.log([2.0, 2.0]), atol=1e-4)
    np.testing.assert_allclose(other.correction[2], [1.0, 2.0], atol=1e-5)
