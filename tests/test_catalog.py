"""Every model of the catalog: its parameters counted op by op against the count that is published for it."""

from __future__ import annotations

import pytest

from viewer.models import build_graph, catalog_names, load_model

#: Published totals that hold tensors which are no part of the network counted here: least and most of them.
VISION = (410e6, 430e6)  # a vision tower and its projector of about 0.42 B; the catalog has the text model
EXTRA = {
    "deepseek-v3": (14_848, 14_848),  # 58 routers x 256 correction biases, a buffer
    "deepseek-r1": (14_848, 14_848),
    "kimi-k2": (23_040, 23_040),  # 60 routers x 384 correction biases
    "gemma-3-4b": VISION,
    "gemma-3-12b": VISION,
    "gemma-3-27b": VISION,
    "qwen3-next-80b-a3b": (1.5e9, 1.8e9),  # a layer that predicts further tokens: 512 experts once more
}


@pytest.mark.parametrize("name", catalog_names())
def test_counted_parameters_are_the_published_ones(name):
    spec = load_model(name)
    assert name == name.lower()
    assert spec.published_source or spec.published is None
    if spec.published is not None:
        least, most = EXTRA.get(name, (0, 0))
        assert least <= spec.published - build_graph(spec).parameter_count <= most


def test_most_of_the_catalog_has_a_published_count():
    published = [name for name in catalog_names() if load_model(name).published is not None]
    assert len(published) >= 0.8 * len(catalog_names())
