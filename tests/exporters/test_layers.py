"""Which layers are fingerprinted, and how they are pooled."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from driftprint.errors import ConfigError
from driftprint_export.builder import default_opset
from driftprint_export.layers import MOST_LAYERS, Layer, find_layers
from driftprint_export.source import SourceModel
from tests.exporters import models

ONE = np.random.default_rng(0).random((1, 1, models.SIDE, models.SIDE)).astype(np.float32)


@functools.cache
def conv() -> SourceModel:
    return models.traced(models.seeded(models.ConvNet))


def test_a_convolutional_net_gives_the_last_map_of_each_stage() -> None:
    layers = find_layers(conv(), ONE)
    assert [layer.shape for layer in layers[:3]] == [(1, 8, 16, 16), (1, 16, 8, 8), (1, 32, 4, 4)]
    assert all(layer.channel_axis == 1 and layer.pooled_axes == (2, 3) for layer in layers[:3])


def test_a_layer_ends_in_its_activation() -> None:
    source = conv()
    made_by = {node.output[0]: node.op_type for node in source.proto.graph.node}
    assert {made_by[layer.tensor] for layer in find_layers(source, ONE)[:3]} == {"Relu"}


def test_the_models_own_outputs_and_copies_of_a_layer_are_left_out() -> None:
    source = conv()
    layers = find_layers(source, ONE)
    assert source.outputs[0] not in {layer.tensor for layer in layers}
    assert len(layers) == 3, "the global mean of the last map pools to what the map itself pools to"


def test_a_token_model_is_pooled_over_its_tokens() -> None:
    layers = find_layers(models.traced(models.seeded(models.TokenNet)), ONE)
    tokens = [layer for layer in layers if layer.shape == (1, 16, 12)]
    assert len(tokens) >= 2
    assert all(layer.channel_axis == 2 and layer.pooled_axes == (1,) for layer in tokens)


def test_a_perceptron_gives_its_hidden_vectors() -> None:
    layers = find_layers(models.traced(models.seeded(models.VectorNet), (20,)), np.ones((1, 20), np.float32))
    assert [layer.shape for layer in layers] == [(1, 16), (1, 12)]
    assert all(layer.pooled_axes == () for layer in layers)


def test_a_unet_gives_its_depth_and_where_the_branches_join() -> None:
    layers = find_layers(models.traced(models.seeded(models.UNet)), ONE)
    assert {(1, 16, 16, 16), (1, 8, 16, 16)} & {layer.shape for layer in layers}
    assert all(layer.channel_axis == 1 for layer in layers)


def test_weights_in_constant_nodes_are_no_layers() -> None:
    source = conv()
    plain = [layer.tensor for layer in find_layers(source, ONE)]
    assert [layer.tensor for layer in find_layers(models.with_constant_nodes(source), ONE)] == plain


@pytest.mark.parametrize("form", [models.with_fixed_batch, models.in_float16])
def test_every_form_of_a_model_gives_the_same_layers(form: Callable[[SourceModel], SourceModel]) -> None:
    source = conv()
    shapes = [layer.shape for layer in find_layers(form(source), ONE)]
    assert shapes == [layer.shape for layer in find_layers(source, ONE)]


def test_an_old_operator_set_gives_the_same_layers() -> None:
    old = models.at_opset(models.seeded(models.ConvNet), 11)
    assert default_opset(old.proto) == 11
    assert [layer.shape for layer in find_layers(old, ONE)] == [layer.shape for layer in find_layers(conv(), ONE)]


def test_an_integer_model_gives_dequantised_maps() -> None:
    frames, _ = models.stripes(20)
    layers = find_layers(models.in_int8(conv(), frames), ONE)
    assert [layer.shape[1:] for layer in layers] == [(8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert {layer.dtype for layer in layers} == {np.dtype(np.float32)}


def test_a_deep_net_gives_a_bounded_number_of_layers() -> None:
    class Deep(nn.Sequential):
        def __init__(self) -> None:
            stages = [
                module
                for _ in range(6)
                for module in (
                    nn.Conv2d(4, 4, 3, padding=1),
                    nn.Tanh(),
                    nn.Conv2d(4, 4, 1),
                    nn.Upsample(scale_factor=2),
                    nn.Tanh(),
                )
            ]
            super().__init__(nn.Conv2d(1, 4, 1), *stages)

    layers = find_layers(models.traced(models.seeded(Deep), (1, 2, 2)), np.ones((1, 1, 2, 2), np.float32))
    assert 4 <= len(layers) <= MOST_LAYERS


def test_named_layers_are_taken_in_their_order() -> None:
    source = conv()
    found = [layer.tensor for layer in find_layers(source, ONE)]
    assert [layer.tensor for layer in find_layers(source, ONE, found[::-1])] == found[::-1]


def test_a_name_that_is_no_layer_is_refused_with_examples() -> None:
    source = conv()
    with pytest.raises(ConfigError, match="no tensor 'nonsense'") as caught:
        find_layers(source, ONE, ["nonsense"])
    assert find_layers(source, ONE)[-1].tensor in str(caught.value)


def test_pooling_is_the_mean_over_maps_and_tokens() -> None:
    value = np.random.default_rng(0).random((2, 3, 4, 5))
    maps = Layer("x", (1, 3, 4, 5), channel_axis=1, batch_axis=0, dtype=np.dtype(np.float32))
    tokens = Layer("x", (1, 4, 5), channel_axis=2, batch_axis=0, dtype=np.dtype(np.float32))
    time_first = Layer("x", (4, 1, 5), channel_axis=2, batch_axis=1, dtype=np.dtype(np.float32))
    assert np.allclose(maps.pool(value), value.mean(axis=(2, 3)))
    assert np.allclose(tokens.pool(value[0]), value[0].mean(axis=1))
    assert np.allclose(time_first.pool(value[0].transpose(1, 0, 2)), value[0].mean(axis=1))
