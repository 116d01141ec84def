"""Pruning and low rank."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.error import pruning
from viewer.error.distributions import Gaussian, Laplace
from viewer.error.metrics import sqnr_db
from viewer.error.prune import (
    low_rank,
    low_rank_iid_sqnr_db,
    low_rank_pays,
    prune_blocks,
    prune_n_of_m,
    prune_rows,
    prune_unstructured,
)
from viewer.errors import InputError


def test_two_of_four_by_hand() -> None:
    x = np.array([[1.0, -4.0, 3.0, 2.0, 0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_array_equal(prune_n_of_m(x, 2, 4), [[0, -4, 3, 0, 0, 0, 0.3, 0.4]])
    # pairs of 4:8 (1,-4)=17 (3,2)=13 (.1,.2)=.05 (.3,.4)=.25: the two pairs of largest energy stay
    np.testing.assert_array_equal(prune_n_of_m(x, 4, 8, unit=2), [[1, -4, 3, 2, 0, 0, 0, 0]])


def test_unstructured_blocks_and_rows_by_hand() -> None:
    x = np.array([[1.0, -4.0, 3.0, 2.0], [5.0, 6.0, -7.0, 8.0]])
    np.testing.assert_array_equal(prune_unstructured(x, 0.5), [[0, -4, 3, 0], [0, 0, -7, 8]])
    # 2 x 2 tiles: energies 1 + 16 + 25 + 36 = 78 and 9 + 4 + 49 + 64 = 126
    np.testing.assert_array_equal(prune_blocks(x, 0.5, 2), [[0, 0, 3, 2], [0, 0, -7, 8]])
    np.testing.assert_array_equal(prune_rows(x, 0.5), [[0, 0, 0, 0], [5, 6, -7, 8]])


@given(st.integers(1, 40), st.floats(0, 0.99))
def test_sparsity_zero_is_dense_and_the_share_is_kept(cols: int, sparsity: float) -> None:
    x = np.random.default_rng(cols).standard_normal((3, cols))
    np.testing.assert_array_equal(prune_unstructured(x, 0.0), x)
    np.testing.assert_array_equal(prune_n_of_m(x, 4, 4), x)
    zeros = (prune_unstructured(x, sparsity) == 0).sum(axis=1)
    assert set(zeros) == {math.floor(sparsity * cols + 1e-9)}


def test_low_rank_error_is_the_dropped_singular_values() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 30))
    s = np.linalg.svd(x, compute_uv=False)
    assert np.square(x - low_rank(x, 10)).sum() == pytest.approx(np.square(s[10:]).sum())
    exact = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30))
    np.testing.assert_allclose(low_rank(exact, 3), exact, atol=1e-10)
    with pytest.raises(InputError, match=r"1 \.\. 30, got 31"):
        low_rank(x, 31)


def test_low_rank_of_independent_entries_follows_marchenko_pastur() -> None:
    # a single 100 x 200 matrix scatters by 0.3 dB in the smallest tenth of its spectrum; the mean of 16 by a
    # quarter
    energies = [
        np.square(np.linalg.svd(np.random.default_rng(seed).standard_normal((100, 200)), compute_uv=False))
        for seed in range(16)
    ]
    for rank in (10, 50, 90):
        lost = np.mean([e[rank:].sum() / e.sum() for e in energies])
        assert low_rank_iid_sqnr_db(100, 200, rank) == pytest.approx(-10 * math.log10(lost), abs=0.15)
    assert low_rank_iid_sqnr_db(8, 8, 8) == math.inf


def test_low_rank_pays_below_half_of_a_square() -> None:
    # 5120 x 5120: r (5120 + 5120) < 5120^2 iff r < 2560
    assert low_rank_pays(5120, 5120, 2559)
    assert not low_rank_pays(5120, 5120, 2560)


@pytest.mark.parametrize(
    "name", ["2:4", "1:4", "4:8", "4:8-pair", "sparse50-csr", "sparse80-csr-vector", "unstructured30"]
)
def test_expected_error_of_a_scheme_is_what_sampling_gives(name: str) -> None:
    scheme = pruning.parse(name)
    assert scheme is not None
    for dist in (Gaussian(), Laplace()):
        x = dist.sample(np.random.default_rng(3), 256, 4096)
        found = sqnr_db(x, scheme.apply(x))
        assert scheme.assumed_sqnr_db(dist, x.size) == pytest.approx(found, abs=0.15)


def test_names() -> None:
    assert pruning.parse("int4_g128") is None
    block = pruning.parse("sparse50-block32")
    assert block is not None
    assert (block.kind, block.first, block.second, block.row_multiple) == ("block", 0.5, 32, 32)
    # a quarter of the channels of equal energy: 10 log10 4 = 6.02 dB
    heads = pruning.parse("heads25")
    assert heads is not None
    assert heads.assumed_sqnr_db(Gaussian(), 1e6) == pytest.approx(6.02, abs=0.01)
    for bad in ("5:4", "3:8-pair", "rank0", "sparse50-block0"):
        with pytest.raises(InputError, match=bad):
            pruning.parse(bad)
    with pytest.raises(InputError, match="tokens, layers or scores"):
        pruning.parse("kvkeep20")
