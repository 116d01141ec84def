"""What a checkpoint says of its own quantization, as a policy.

Read: gptq, awq, bitsandbytes, fp8, fbgemm_fp8, mxfp4, hqq, quanto, eetq, compressed-tensors and modelopt
(in config.json or in the sidecar hf_quant_config.json, with or without a ``quant_method``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from viewer import formats
from viewer.compression.load import validate
from viewer.compression.matching import ModuleList, Site
from viewer.compression.modules import QUANTIZED, SUFFIXES, TOP
from viewer.compression.names import layer_spec
from viewer.compression.policy import Compression
from viewer.compression.schemes import block_fp8, from_scheme, grouped_integer, integer, kv_format
from viewer.errors import InputError, unknown

_WHAT = "quantization_config"
_Rules = list[dict[str, Any]]
# what is quantized unless it is ignored, and whether the head is a module like all others
_BLOCKS = ("@linear",)

# modelopt's algorithms: (weight, activation); a group size replaces the 128
_ALGORITHMS: dict[str, tuple[str, str]] = {
    "FP8": ("fp8_e4m3", "fp8_e4m3"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8_e4m3_channel", "fp8_e4m3_channel"),
    "FP8_PB_WO": ("fp8_e4m3_b128", "default16"),
    "FP8_PB_REAL": ("fp8_e4m3_b128", "fp8_e4m3_g128"),
    "NVFP4": ("nvfp4", "nvfp4"),
    "NVFP4_AWQ": ("nvfp4", "nvfp4"),
    "W4A16_NVFP4": ("nvfp4", "default16"),
    "W4A8_NVFP4_FP8": ("nvfp4", "fp8_e4m3"),
    "W4A8_MXFP4_FP8": ("mxfp4", "fp8_e4m3"),
    "MXFP8": ("mxfp8", "mxfp8"),
    "MXFP4": ("mxfp4", "mxfp4"),
    "W4A16_AWQ": ("int4_g128", "default16"),
    "W4A16": ("int4_g128", "default16"),
    "W4A8_AWQ": ("int4_g128", "fp8_e4m3"),
    "INT8": ("int8_channel_s16", "int8_tensor"),
    "W8A8_SQ_PER_CHANNEL": ("int8", "int8"),
    "INT8_SQ": ("int8", "int8"),
    "W8A16": ("int8_channel_s16", "default16"),
}


def read_quantization(config: dict[str, Any], sidecar: dict[str, Any] | None = None) -> Compression | None:
    """The policy of a model's ``config.json`` (and of its ``hf_quant_config.json``), or None if unquantized.

    The sidecar wins where both speak, because it is what the quantizer wrote.

    Raises:
        InputError: an unknown method, or a malformed description; one line.
    """
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else {}
    sidecar = sidecar if sidecar is not None else config.get("hf_quant_config")
    if sidecar is not None:
        n_layers = _layer_count(config, inner)
        found = _mapping(sidecar, "hf_quant_config.json").get("quantization", sidecar)
        return _policy("modelopt", _modelopt(_mapping(found, "hf_quant_config.json"), n_layers))
    given = config.get("quantization_config", inner.get("quantization_config"))
    if given is None:
        return None
    n_layers = _layer_count(config, inner)
    quantization = _mapping(given, _WHAT)
    method = quantization.get("quant_method")
    if method is None:
        method = _guess(quantization)
    readers: dict[str, Callable[[dict[str, Any], int], _Rules]] = {
        "gptq": _gptq, "awq": _awq, "bitsandbytes": _bitsandbytes, "fp8": _fp8, "fbgemm_fp8": _fbgemm,
        "mxfp4": _mxfp4, "compressed-tensors": _compressed_tensors, "modelopt": _modelopt, "hqq": _hqq,
        "quanto": _quanto, "eetq": _eetq,
    }  # fmt: skip
    reader = readers.get(str(method).lower().replace("compressed_tensors", "compressed-tensors"))
    if reader is None:
        raise unknown(f"{_WHAT}.quant_method", str(method), readers)
    return _policy(str(method), reader(quantization, n_layers))


def _policy(method: str, rules: _Rules) -> Compression:
    return validate({"name": f"checkpoint:{method}"[:80], "rules": tuple(rules)})


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what}: a mapping, not {str(value)[:40]!r}")
    return value


def _names(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{what}: a list of module names, not {str(value)[:40]!r}")
    return list(value)


def _layer_count(config: dict[str, Any], inner: dict[str, Any]) -> int:
    for source in (inner, config):
        for key in ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"):
            if source.get(key) is not None:
                return integer(source[key], key, 1, 10_000)
    raise InputError(f"{_WHAT}: the configuration lacks num_hidden_layers")


def _guess(quantization: dict[str, Any]) -> str:
    """The method of a file that does not name it."""
    if "quant_algo" in quantization:
        return "modelopt"
    if "config_groups" in quantization:
        return "compressed-tensors"
    if quantization.get("load_in_4bit") or quantization.get("load_in_8bit"):
        return "bitsandbytes"
    raise InputError(f"{_WHAT}: neither quant_method nor quant_algo")


def _rules(
    weight: str,
    activation: str,
    n_layers: int,
    left_out: Iterable[Any] = (),
    *,
    loose: bool = False,
    head: bool = False,
    static: bool = False,
    kv: str | None = None,
) -> _Rules:
    """One rule for everything quantized, exceptions for what is left out, one for the cache."""
    everything: dict[str, Any] = {"ops": (*_BLOCKS, "lm_head") if head else _BLOCKS}
    everything |= {"weight": weight, "activation": activation}
    if static:
        everything["static_activation"] = True
    excluded = ModuleList(left_out, f"{_WHAT} exceptions", loose=loose)
    ops = (*QUANTIZED, "lm_head") if head else QUANTIZED
    rules = [everything, *_on_sites((s for s in _sites(ops, n_layers) if s in excluded), n_layers)]
    if kv:
        rules.append({"ops": ("*",), "kv": kv})
    return rules


def _sites(ops: Iterable[str], n_layers: int) -> Iterable[Site]:
    for op in ops:
        yield from ((op, None),) if op in TOP else ((op, layer) for layer in range(n_layers))


def _on_sites(
    sites: Iterable[Site], n_layers: int, weight: str = "default16", activation: str = "default16"
) -> _Rules:
    """The fewest rules that give ``weight`` and ``activation`` to exactly these sites."""
    by_op: dict[str, set[int | None]] = {}
    for op, layer in sites:
        if layer is None or layer < n_layers:
            by_op.setdefault(op, set()).add(layer)
    by_layers: dict[str, list[str]] = {}
    for op, layers in by_op.items():
        spec = "all" if None in layers else layer_spec({i for i in layers if i is not None}, n_layers)
        by_layers.setdefault(spec, []).append(op)
    return [
        {"ops": tuple(ops), "layers": spec, "weight": weight, "activation": activation}
        for spec, ops in by_layers.items()
    ]


def _gptq(config: dict[str, Any], n_layers: int) -> _Rules:
    """GPTQ: packed integers, FP16 scales; zero points as wide as the weights unless symmetric.

    (Files of symmetric models hold zero points too; kernels such as Marlin drop them.)
    """
    bits = integer(config.get("bits"), f"{_WHAT}.bits", 2, 8)
    group = integer(config.get("group_size", 128), f"{_WHAT}.group_size", -1, 1 << 20)
    weight = grouped_integer(bits, group, symmetric=config.get("sym", True) is not False)
    excluded = _names(config.get("modules_to_not_convert"), f"{_WHAT}.modules_to_not_convert")
    return _rules(weight, "default16", n_layers, excluded, loose=True, head=config.get("lm_head") is True)


def _awq(config: dict[str, Any], n_layers: int) -> _Rules:
    bits = integer(config.get("bits", config.get("w_bit", 4)), f"{_WHAT}.bits", 2, 8)
    size = config.get("group_size", config.get("q_group_size", 128))
    group = integer(size, f"{_WHAT}.group_size", -1, 1 << 20)
    weight = grouped_integer(bits, group, symmetric=config.get("zero_point", True) is False)
    excluded = _names(config.get("modules_to_not_convert"), f"{_WHAT}.modules_to_not_convert")
    return _rules(weight, "default16", n_layers, excluded, loose=True)


def _bitsandbytes(config: dict[str, Any], n_layers: int) -> _Rules:
    skipped = _names(config.get("llm_int8_skip_modules"), f"{_WHAT}.llm_int8_skip_modules")
    if config.get("load_in_8bit"):
        # LLM.int8(): INT8 x INT8 but for the few outlier columns (arXiv:2208.07339), which are not counted
        return _rules("int8", "int8", n_layers, skipped, loose=True)
    if not config.get("load_in_4bit"):
        raise InputError(f"{_WHAT}: bitsandbytes with neither load_in_4bit nor load_in_8bit")
    kind = str(config.get("bnb_4bit_quant_type", "fp4"))
    if kind not in ("nf4", "fp4"):
        raise unknown(f"{_WHAT}.bnb_4bit_quant_type", kind, ("nf4", "fp4"))
    weight = ("nf4" if kind == "nf4" else "bnb_fp4") + (
        "_dq" if config.get("bnb_4bit_use_double_quant") else ""
    )
    return _rules(weight, "default16", n_layers, skipped, loose=True)


def _fp8(config: dict[str, Any], n_layers: int) -> _Rules:
    kind = str(config.get("fmt", "e4m3"))
    if kind not in ("e4m3", "e5m2"):
        raise unknown(f"{_WHAT}.fmt", kind, ("e4m3", "e5m2"))
    shape = config.get("weight_block_size")
    static = config.get("activation_scheme", "dynamic") == "static"
    excluded = _names(
        config.get("modules_to_not_convert", config.get("ignored_layers")), f"{_WHAT}.modules_to_not_convert"
    )
    if shape is None:
        weight = activation = f"fp8_{kind}"
    else:
        weight = block_fp8(shape, f"{_WHAT}.weight_block_size", kind)
        activation = formats.get(f"fp8_{kind}_g{shape[1]}").name
    return _rules(weight, activation, n_layers, excluded, loose=True, static=static)


def _fbgemm(config: dict[str, Any], n_layers: int) -> _Rules:
    excluded = _names(config.get("modules_to_not_convert"), f"{_WHAT}.modules_to_not_convert")
    return _rules("fp8_e4m3_channel", "fp8_e4m3_channel", n_layers, excluded, loose=True)


def _mxfp4(config: dict[str, Any], n_layers: int) -> _Rules:
    """MXFP4 of gpt-oss: weights only, and only the experts (``Mxfp4Config`` of transformers)."""
    excluded = _names(config.get("modules_to_not_convert"), f"{_WHAT}.modules_to_not_convert")
    rules = _rules("mxfp4", "default16", n_layers, excluded, loose=True)
    rules[0]["ops"] = ("experts_gate", "experts_up", "experts_gate_up", "experts_down")
    return rules


def _hqq(config: dict[str, Any], n_layers: int) -> _Rules:
    params = _mapping(config.get("weight_quant_params", config.get("quant_config", {}) or {}), _WHAT)
    params = _mapping(params.get("weight_quant_params", params), _WHAT)
    bits = integer(params.get("nbits", 4), f"{_WHAT}.nbits", 1, 8)
    group = integer(params.get("group_size", 64) or -1, f"{_WHAT}.group_size", -1, 1 << 20)
    weight = "int1" if bits == 1 else grouped_integer(bits, group, symmetric=False, asym="_asym16")
    return _rules(weight, "default16", n_layers, _names(config.get("skip_modules"), _WHAT), loose=True)


def _quanto(config: dict[str, Any], n_layers: int) -> _Rules:
    known = {"int8": "int8_channel_s16", "float8": "fp8_e4m3_channel_s16", "int4": "int4_g128_asym16"}
    known["int2"] = "int2_g128_asym16"
    weight = known.get(str(config.get("weights", "int8")))
    if weight is None:
        raise unknown(f"{_WHAT}.weights", config.get("weights"), known)
    return _rules(
        weight, "default16", n_layers, _names(config.get("modules_to_not_convert"), _WHAT), loose=True
    )


def _eetq(config: dict[str, Any], n_layers: int) -> _Rules:
    excluded = _names(config.get("modules_to_not_convert"), _WHAT)
    return _rules("int8_channel_s16", "default16", n_layers, excluded, loose=True)


def _compressed_tensors(config: dict[str, Any], n_layers: int) -> _Rules:
    """Every group's formats on its targets; what ``ignore`` names (or ``re:`` matches) stays in 16 bits."""
    groups = _mapping(config.get("config_groups"), f"{_WHAT}.config_groups")
    if not 1 <= len(groups) <= 64:
        raise InputError(f"{_WHAT}.config_groups: 1 to 64 groups, not {len(groups)}")
    ignored = ModuleList(_names(config.get("ignore"), f"{_WHAT}.ignore"), f"{_WHAT}.ignore")
    sites = list(_sites((*QUANTIZED, "lm_head"), n_layers))
    rules: _Rules = []
    for name, group in groups.items():
        what = f"{_WHAT}.config_groups.{str(name)[:40]}"
        rules += _group_rules(_mapping(group, what), what, sites, n_layers)
    rules += _on_sites((site for site in sites if site in ignored), n_layers)
    kv = kv_format(config.get("kv_cache_scheme"), f"{_WHAT}.kv_cache_scheme")
    return [*rules, {"ops": ("*",), "kv": kv}] if kv else rules


def _group_rules(group: dict[str, Any], what: str, sites: list[Site], n_layers: int) -> _Rules:
    weights = group.get("weights")
    inputs = group.get("input_activations")
    outputs = group.get("output_activations")
    rule = {
        "weight": from_scheme(_mapping(weights, f"{what}.weights"), f"{what}.weights")
        if weights
        else "default16",
        "activation": from_scheme(_mapping(inputs, what), f"{what}.input_activations")
        if inputs
        else "default16",
    }
    extra: dict[str, Any] = {}
    if inputs and inputs.get("dynamic") in (False, None):
        extra["static_activation"] = True
    if outputs:
        extra["output"] = from_scheme(_mapping(outputs, what), f"{what}.output_activations")
    targets = _names(group.get("targets") or ["Linear"], f"{what}.targets")
    if "Linear" in targets:
        return [{"ops": (*_BLOCKS, "lm_head"), **rule, **extra}]
    wanted = ModuleList(targets, f"{what}.targets")
    found = _on_sites((site for site in sites if site in wanted), n_layers, **rule)
    return [{**one, **extra} for one in found]


def _modelopt(config: dict[str, Any], n_layers: int) -> _Rules:
    """ModelOpt: one algorithm for all, or MIXED_PRECISION with one per layer."""
    algorithm = str(config.get("quant_algo")).upper()
    left_out = [
        *_names(config.get("exclude_modules"), f"{_WHAT}.exclude_modules"),
        *_names(config.get("ignore"), f"{_WHAT}.ignore"),
    ]
    kv = kv_format(
        config.get("kv_cache_quant_algo", config.get("kv_cache_scheme")), f"{_WHAT}.kv_cache_quant_algo"
    )
    if algorithm == "MIXED_PRECISION":
        return [*_mixed(config, n_layers), *([{"ops": ("*",), "kv": kv}] if kv else [])]
    if config.get("quant_algo") is None and "config_groups" in config:
        return _compressed_tensors({**config, "ignore": left_out}, n_layers)
    weight, activation = _algorithm(algorithm, config.get("group_size"))
    static = algorithm in ("FP8", "INT8")
    return _rules(weight, activation, n_layers, left_out, head=True, static=static, kv=kv)


def _algorithm(name: str, group: Any) -> tuple[str, str]:
    if name not in _ALGORITHMS:
        raise unknown(f"{_WHAT}.quant_algo", name, (*_ALGORITHMS, "MIXED_PRECISION"))
    weight, activation = _ALGORITHMS[name]
    if group is not None and weight == "int4_g128":
        weight = grouped_integer(4, integer(group, f"{_WHAT}.group_size", 2, 1 << 20), symmetric=True)
    return weight, activation


def _mixed(config: dict[str, Any], n_layers: int) -> _Rules:
    layers = _mapping(config.get("quantized_layers"), f"{_WHAT}.quantized_layers")
    by_formats: dict[tuple[str, str], list[str]] = {}
    for name, entry in layers.items():
        found = _mapping(entry, f"{_WHAT}.quantized_layers.{name[:60]}")
        pair = _algorithm(str(found.get("quant_algo")).upper(), found.get("group_size"))
        by_formats.setdefault(pair, []).append(name)
    sites = list(_sites((*SUFFIXES, "lm_head"), n_layers))
    rules: _Rules = []
    for (weight, activation), names in by_formats.items():
        wanted = ModuleList(names, f"{_WHAT}.quantized_layers")
        rules += _on_sites((s for s in sites if s in wanted), n_layers, weight, activation)
    return rules


__all__ = ["read_quantization"]
