"""How blocks are put together in a layer: norms, residual adds, side by side or one after the other."""

from __future__ import annotations

from viewer.graph import Op
from viewer.models.emit import Context, emit, emits
from viewer.models.spec import LayerSpec, NormSpec
from viewer.ops.elementwise import Add, Norm


@emits(LayerSpec)
def layer_ops(layer: LayerSpec, ctx: Context) -> list[Op]:
    """One layer: norms, mixer, feed-forward and residual adds in execution order."""
    if layer.parallel:
        return _parallel_layer(layer, ctx)
    ops: list[Op] = []
    for part, block in (("attn", layer.mixer), ("mlp", layer.ffn)):
        if block is None:
            continue
        target = f"{part}_block_out"
        source = "normed" if layer.norms != "post" else "hidden"
        if layer.norms != "post":
            ops.append(norm_op(layer.norm, ctx, f"{part}_norm", "hidden", "normed"))
        ops += emit(block, ctx.at(source=source, target=target))
        if layer.norms != "pre":
            ops.append(norm_op(layer.norm, ctx, f"{part}_post_norm", target, target))
        ops.append(add_op(ctx, f"{part}_add", target))
    return ops


def _parallel_layer(layer: LayerSpec, ctx: Context) -> list[Op]:
    """Mixer and feed-forward side by side: x + mixer(norm(x)) + ffn(norm(x)) (GPT-J, Falcon, NeoX, Phi, Cohere)."""
    ops: list[Op] = [norm_op(layer.norm, ctx, "attn_norm", "hidden", "normed")]
    mlp_source = "normed"
    if layer.parallel_norms == 2:
        mlp_source = "mlp_normed"
        ops.append(norm_op(layer.norm, ctx, "mlp_norm", "hidden", mlp_source))
    ops += emit(layer.mixer, ctx.at(source="normed", target="attn_block_out"))
    ops += emit(layer.ffn, ctx.at(source=mlp_source, target="mlp_block_out"))
    ops.append(add_op(ctx, "attn_add", "attn_block_out"))
    ops.append(add_op(ctx, "mlp_add", "mlp_block_out"))
    return ops


def norm_op(norm: NormSpec, ctx: Context, name: str, source: str, target: str, rows: str = "") -> Norm:
    """A norm over the hidden width from tensor ``source`` to ``target``."""
    h = ctx.hidden
    weights = (ctx.weight(name, h * norm.weights_per_value),) if norm.weights_per_value else ()
    return Norm(
        name=ctx.prefix + name,
        inputs=(ctx.tensor(source, h, rows),),
        outputs=(ctx.tensor(target, h, rows),),
        weights=weights,
        rows=rows or ctx.rows,
        flops=norm.flops_per_value * h,
        special=1.0,
    )


def add_op(ctx: Context, name: str, source: str) -> Add:
    """hidden += source."""
    h = ctx.hidden
    hidden = ctx.tensor("hidden", h)
    return Add(
        name=ctx.prefix + name,
        inputs=(ctx.tensor(source, h), hidden),
        outputs=(hidden,),
        rows=ctx.rows,
        flops=1.0 * h,
    )
