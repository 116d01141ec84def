"""Registry of block emitters: a mixer or feed-forward spec becomes a list of unfused ops.

``@emits(AttentionSpec)`` registers ``emit(spec, ctx) -> list[Op]``. A block reads the tensor ``ctx.source`` (the normed
hidden state) and must end with a tensor named ``ctx.target`` of width ``ctx.hidden``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from viewer import formats
from viewer.formats import TensorFormat
from viewer.graph import Op, Tensor, Weight
from viewer.ops.linear import Linear
from viewer.ops.routing import UNIFORM, Routing


@dataclass(frozen=True)
class Context:
    """What a block needs to know of its surroundings.

    ``attention``: flash (one fused kernel) or eager (explicit scores). ``mla``: auto, naive or absorbed.
    ``prefix``: put before op names of towers (``encoder_``), so that rules can address them. ``rows``: the row kind
    of the hidden state (tokens; source or image for towers). ``routing``: how tokens spread over experts.
    """

    hidden: int
    dtype: TensorFormat
    attention: Literal["flash", "eager"] = "flash"
    mla: str = "auto"
    source: str = "normed"
    target: str = "mixer_out"
    prefix: str = ""
    rows: str = "tokens"
    layer: int = 0
    n_layers: int = 1
    routing: Routing = UNIFORM

    def at(self, **changes: Any) -> Context:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def tensor(self, name: str, width: float, rows: str = "", fmt: str = "") -> Tensor:
        """An activation in the model's own 16-bit type unless ``fmt`` says otherwise."""
        return Tensor(name, width, rows or self.rows, formats.get(fmt) if fmt else self.dtype)

    def weight(self, name: str, rows: int, cols: int = 1, count: int = 1, **extra: Any) -> Weight:
        """A parameter tensor in the model's own 16-bit type."""
        return Weight(name, rows, cols, count, self.dtype, **extra)

    def linear(
        self,
        name: str,
        source: tuple[str, int],
        target: tuple[str, int],
        *,
        bias: bool = False,
        shard: Literal["column", "row", "vocab"] | None = None,
        rows: str = "",
        weight_name: str = "",
    ) -> Linear:
        """A linear layer from tensor ``source`` (name, width) to ``target`` (name, width)."""
        i, o = source[1], target[1]
        weights = [self.weight(weight_name or name, o, i)]
        if bias:
            weights.append(self.weight(f"{weight_name or name}.bias", o))
        return Linear(
            name=self.prefix + name,
            inputs=(self.tensor(*source, rows=rows),),
            outputs=(self.tensor(*target, rows=rows),),
            weights=tuple(weights),
            rows=rows or self.rows,
            in_features=i,
            out_features=o,
            bias=o if bias else 0,
            shard=shard,
        )


Emitter = Callable[[Any, Context], list[Op]]
_EMITTERS: dict[type, Emitter] = {}


def emits(spec_type: type) -> Callable[[Emitter], Emitter]:
    """Register the emitter of a mixer or feed-forward spec; a second one is refused."""

    def register(function: Emitter) -> Emitter:
        if spec_type in _EMITTERS:
            raise ValueError(f"{spec_type.__name__} has an emitter already")
        _EMITTERS[spec_type] = function
        return function

    return register


def emit(spec: Any, ctx: Context) -> list[Op]:
    """The unfused ops of a block."""
    return _EMITTERS[type(spec)](spec, ctx)
