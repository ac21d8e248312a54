"""Nats: pieces equal the whole; sampled labels differ from call to call and follow the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lllm.model.noise import Noise, initialise
from lllm.model.unembedding import Unembedding, sampled_labels


class Two(nn.Module):
    """Two unembeddings, as of a model with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Unembedding(4, 11, (0, 10)), Unembedding(4, 11, (0, 10))


def made() -> tuple[Two, Tensor, Tensor]:
    model = Two().double()
    initialise_with_roles(model)
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return model, x, torch.arange(15).view(3, 5) % 11


def initialise_with_roles(model: Two) -> None:
    fresh = Two()
    initialise(fresh, 0)
    model.load_state_dict(fresh.state_dict())


def test_pieces_equal_the_whole_with_their_gradients() -> None:
    model, x, targets = made()
    found = []
    for largest in (1 << 25, 11 * 4, 1):
        model.a.largest = largest
        leaf = x.clone().requires_grad_()
        nats = model.a.nats(leaf, targets)
        weight = torch.linspace(0.5, 2, 15, dtype=torch.float64).view(3, 5)
        found.append((nats, *torch.autograd.grad((nats * weight).sum(), [leaf, model.a.weight])))
    for pieces in found[1:]:
        for piece, whole in zip(pieces, found[0], strict=True):
            torch.testing.assert_close(piece, whole, rtol=0, atol=1e-12)
    assert (found[0][0][(targets == 0) | (targets == 10)] == 0).all()


def test_each_call_of_a_pass_draws_labels_of_its_own() -> None:
    model, x, targets = made()
    same = torch.ones_like(targets)

    def one_pass() -> list[Tensor]:
        with sampled_labels(model, Noise(0, 3), torch.arange(3)):
            return [model.a.nats(x, same), model.a.nats(x, same), model.b.nats(x, same)]

    first, again = one_pass(), one_pass()
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    model.b.load_state_dict(model.a.state_dict())
    assert not torch.equal(one_pass()[0], one_pass()[2])
    assert not torch.equal(model.a.nats(x, same), first[0])
    assert torch.equal(model.a.nats(x, targets), model.a.nats(x, targets))


def test_sampled_labels_do_not_depend_on_the_pieces() -> None:
    model, x, targets = made()
    found = []
    for largest in (1 << 25, 11):
        model.a.largest = largest
        with sampled_labels(model, Noise(0, 3), torch.arange(3)):
            found.append(model.a.nats(x, targets.clamp(1, 9)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)
