"""Graphs as PyTorch modules: the same results, and gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from bench.detection.torch_graph import GraphModule, in_stages
from driftprint_export.layers import find_layers
from driftprint_export.reference.nets import DigitResNet, FastResNet, SmallResNet, SmallViT
from driftprint_export.reference.quantised import in_int8
from driftprint_export.source import SourceModel, make_session
from driftprint_export.torch_source import trace_module

NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "digits": (lambda: DigitResNet((4, 6, 8)), (1, 28, 28)),
    "fast": (lambda: FastResNet((4, 6, 8)), (3, 32, 32)),
    "small": (lambda: SmallResNet((4, 6, 8), blocks=1), (3, 32, 32)),
    "vit": (lambda: SmallViT(width=8, depth=2, heads=2), (3, 32, 32)),
}


def built(name: str) -> tuple[nn.Module, SourceModel, torch.Tensor]:
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = make()
    frames = torch.randn(4, *shape)
    net.train()(frames)  # batch normalisation that does something
    net.eval()
    return net, trace_module(net, np.zeros((1, *shape), np.float32), name), frames


@pytest.mark.parametrize("name", NETS)
def test_the_module_computes_what_the_net_does_with_gradients(name: str) -> None:
    net, source, frames = built(name)
    module = GraphModule(source.proto)
    assert torch.allclose(module(frames), net(frames), atol=1e-4)
    gradients = []
    for model in (module, net):
        given = frames.clone().requires_grad_()
        gradients.append(torch.autograd.grad(model(given)[:, 3].sum(), given)[0])
    assert torch.allclose(gradients[0], gradients[1], atol=1e-4)


def test_a_quantised_model_has_the_gradients_of_what_was_not_rounded() -> None:
    net, source, frames = built("small")
    quantised = in_int8(source, frames.numpy())
    module = GraphModule(quantised.proto)
    (expected,) = make_session(quantised.proto, where="small").run(None, {source.input.name: frames.numpy()})
    assert np.allclose(module(frames).detach(), expected, atol=0.02 * np.abs(expected).max())
    gradients = []
    for model in (module, net):
        given = frames.clone().requires_grad_()
        gradients.append(torch.autograd.grad(model(given)[:, 3].sum(), given)[0].flatten())
    assert torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.8


def test_stages_give_the_layers_and_together_the_output() -> None:
    net, source, frames = built("fast")
    layers = find_layers(source, frames[:1].numpy())
    stages = in_stages(source.proto, [layer.tensor for layer in layers])
    values = frames
    for stage, layer in zip(stages[:-1], layers, strict=True):
        values = stage(values)
        assert values.shape[1:] == layer.shape[1:]
    assert torch.allclose(stages[-1](values), net(frames), atol=1e-4)


def test_what_needs_more_than_the_start_is_refused() -> None:
    _, source, frames = built("fast")
    layers = find_layers(source, frames[:1].numpy())
    with pytest.raises(ValueError, match="needs"):
        GraphModule(source.proto, start=layers[-1].tensor, end=layers[0].tensor)
