"""Codebooks learn what they are shown."""

from __future__ import annotations

import numpy as np
import torch

from acomp.training.quantiser import LearningQuantiser, kmeans, nearest


def test_kmeans_finds_the_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = centres.repeat(100, 1) + 0.1 * torch.randn(300, 2)
    found = kmeans(vectors, 12)
    assert (found[nearest(centres, found)] - centres).norm(dim=1).max() < 0.2


def test_kmeans_of_fewer_vectors_than_centres() -> None:
    torch.manual_seed(0)
    assert kmeans(torch.randn(5, 2), 8).shape == (8, 2)


def test_a_quantiser_learns_what_it_is_shown() -> None:
    torch.manual_seed(0)
    books = list(torch.randn(4, 32, 8))
    quantiser = LearningQuantiser(4, 32)
    vectors = torch.randn(1, 2000, 8) + 5  # far from where the codebooks are
    everything = torch.tensor([4])

    def error() -> float:
        quantised = quantiser(vectors, books, everything, learn=True)[0]
        return float((quantised - vectors).square().mean())

    before = error()
    for _ in range(700):  # an entry that nothing chooses is moved after some 460
        error()
    assert error() < 0.1 * before
    used = np.unique(nearest(vectors[0], books[0]).numpy())
    assert len(used) > 28  # no entry stays unused


def test_a_quantiser_that_does_not_learn_leaves_everything_as_it_is() -> None:
    torch.manual_seed(0)
    books = list(torch.randn(2, 16, 8))
    quantiser = LearningQuantiser(2, 16)
    before, share = [book.clone() for book in books], quantiser.share.clone()
    quantiser(torch.randn(1, 50, 8), books, torch.tensor([2]), learn=False)
    assert all(map(torch.equal, books, before)) and torch.equal(quantiser.share, share)


def test_fewer_codebooks_are_used_where_fewer_are_asked_for() -> None:
    torch.manual_seed(0)
    quantiser = LearningQuantiser(4, 32)
    vectors = torch.randn(2, 50, 8, requires_grad=True)
    quantised, codes, commitment = quantiser(
        vectors, list(torch.randn(4, 32, 8)), torch.tensor([1, 4]), learn=False
    )
    assert codes.shape == (2, 4, 50)
    errors = (quantised - vectors).square().mean((1, 2))
    assert errors[1] < errors[0]
    torch.autograd.backward(quantised.sum() + commitment)
    assert vectors.grad is not None and (vectors.grad != 0).all()
