"""A compression policy: ordered rules from op, layer and tensor role to storage formats and sparsity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from viewer import formats
from viewer import sparsity as schemes
from viewer.compression import names
from viewer.errors import InputError
from viewer.formats import TensorFormat

DEFAULT16 = "default16"
ROLES = (
    "weight", "activation", "output", "kv", "kv_k", "kv_v", "query", "probabilities", "state",
)  # fmt: skip
MAX_RULES = 4096


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _format_name(value: Any) -> Any:
    """A format's canonical name, ``default16``, or None; raises InputError for anything else."""
    if value is None or value == DEFAULT16:
        return value
    if not isinstance(value, str):
        raise InputError(f"a number format is a name, not {value!r}"[:120])
    return formats.get(value[:80]).name


FormatName = Annotated[str | None, BeforeValidator(_format_name)]


class Rule(BaseModel):
    """One rule. What it leaves out (None) it does not change; later rules win.

    ops: globs on op names, ``@linear`` for all block-linear layers; a fused name (``qkv_proj``) covers its parts.
    layers: ``all``, ``0-3,7,40-``, ``first2``, ``last2``.
    Roles hold format names or ``default16`` (the checkpoint's own 16-bit type); ``kv`` sets both caches.
    sparsity: a scheme for weights, or ``none``. activation_sparsity: ``actsparseN`` or ``none``.
    static_activation: scales known beforehand, so that no statistics are taken at run time.
    hadamard: inputs are rotated online (QuaRot, arXiv:2404.00456).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ops: Annotated[tuple[str, ...], BeforeValidator(_one_or_many)] = ("*",)
    layers: str = Field(default="all", max_length=4000)
    weight: FormatName = None
    activation: FormatName = None
    output: FormatName = None
    kv: FormatName = None
    kv_k: FormatName = None
    kv_v: FormatName = None
    query: FormatName = None
    probabilities: FormatName = None
    state: FormatName = None
    sparsity: str | None = Field(default=None, max_length=80)
    activation_sparsity: str | None = Field(default=None, max_length=80)
    static_activation: bool | None = None
    hadamard: bool | None = None

    @field_validator("ops")
    @classmethod
    def _known_ops(cls, ops: tuple[str, ...]) -> tuple[str, ...]:
        for op in ops:
            if not 1 <= len(op) <= 80:
                raise InputError(f"op pattern {op[:40]!r}: 1 to 80 characters")
        return ops

    @field_validator("layers")
    @classmethod
    def _known_layers(cls, layers: str) -> str:
        return names.check_layers(layers)

    @field_validator("sparsity")
    @classmethod
    def _weight_scheme(cls, name: str | None) -> str | None:
        if name not in (None, "none") and not isinstance(schemes.get(name or ""), schemes.WEIGHT_SCHEMES):
            raise InputError(
                f"sparsity {name!r} is not a scheme for weights (2:4, sparse50-csr, rank1024 ...)"
            )
        return name

    @field_validator("activation_sparsity")
    @classmethod
    def _activation_scheme(cls, name: str | None) -> str | None:
        if name not in (None, "none") and not isinstance(schemes.get(name or ""), schemes.ActivationSparsity):
            raise InputError(f"sparsity {name!r} is not a scheme for activations (actsparse50)")
        return name

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {k: v for k, v in handler(self).items() if v is not None and (k, v) != ("layers", "all")}


@dataclass(frozen=True, slots=True)
class OpFormats:
    """What a policy says of one op in one layer: a storage format for every role, and its sparsity.

    ``weight`` stores the parameters; ``activation`` is the form in which the op's inputs are multiplied (what
    is in memory until then is the producer's ``output``); ``kv_k``/``kv_v`` the caches; ``query`` and
    ``probabilities`` the first operands of the attention products; ``state`` a recurrent state, if a rule says.
    ``activation_dynamic``: its scales are computed at run time.
    """

    weight: TensorFormat
    activation: TensorFormat
    output: TensorFormat
    kv_k: TensorFormat
    kv_v: TensorFormat
    query: TensorFormat
    probabilities: TensorFormat
    state: TensorFormat | None = None
    sparsity: schemes.WeightScheme | None = None
    activation_sparsity: schemes.ActivationSparsity | None = None
    activation_dynamic: bool = False
    hadamard: bool = False


class Compression(BaseModel):
    """A compression policy. A preset's name is its JSON; a policy of rules is written out.

    structure: structured pruning (``heads25``, ``ffn25`` ...), which changes the model's shapes.
    attention: attention and cache sparsity (``attn-w1024-g4-r0``, ``kvkeep20`` ...).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="custom", min_length=1, max_length=400)
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)
    structure: tuple[str, ...] = Field(default=(), max_length=16)
    attention: tuple[str, ...] = Field(default=(), max_length=16)
    notes: tuple[str, ...] = Field(default=(), max_length=64)
    preset: bool = Field(default=False, exclude=True)

    _cache: dict[tuple[str, int | None, int, str], OpFormats] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        if isinstance(data, str):
            from viewer.compression.presets import parse

            return dict(parse(data))
        if isinstance(data, dict) and "base" in data:
            return _on_top_of(data)
        return data

    @field_validator("structure", "attention")
    @classmethod
    def _schemes(cls, given: tuple[str, ...], info: Any) -> tuple[str, ...]:
        wanted = (schemes.Structured,) if info.field_name == "structure" else schemes.ATTENTION_SCHEMES
        for name in given:
            if not isinstance(schemes.get(name[:80]), wanted):
                raise InputError(f"sparsity {name[:80]!r} is not a scheme of {info.field_name}")
        return given

    @model_serializer(mode="wrap")
    def _short(self, handler: SerializerFunctionWrapHandler) -> str | dict[str, Any]:
        if self.preset:
            return self.name
        return {key: value for key, value in handler(self).items() if value not in ((), [])}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compression) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.name, len(self.rules)))

    def _identity(self) -> tuple[object, ...]:
        return self.name, self.rules, self.structure, self.attention

    def resolve(self, op: str, layer: int | None, n_layers: int, default16: str = "bf16") -> OpFormats:
        """Formats and sparsity of op ``op`` in ``layer`` (None outside the stack) of ``n_layers``.

        ``default16`` is the checkpoint's own 16-bit type. Answers are cached on the policy.
        """
        key = (op, layer, n_layers, default16)
        found = self._cache.get(key)
        if found is None:
            found = self._cache[key] = _resolve(self.rules, *key)
        return found

    def layer_classes(
        self, ops: tuple[str, ...], layers: tuple[int, ...], n_layers: int, default16: str = "bf16"
    ) -> tuple[tuple[int, ...], ...]:
        """``layers`` split into groups that the policy treats alike, in order of first appearance."""
        groups: dict[tuple[OpFormats, ...], list[int]] = {}
        for layer in layers:
            treated = tuple(self.resolve(op, layer, n_layers, default16) for op in ops)
            groups.setdefault(treated, []).append(layer)
        return tuple(tuple(group) for group in groups.values())

    def structured(self) -> tuple[schemes.Structured, ...]:
        """The shape changes, as schemes."""
        return tuple(s for s in map(schemes.get, self.structure) if isinstance(s, schemes.Structured))

    def attention_schemes(self) -> tuple[schemes.AttentionScheme, ...]:
        """The attention and cache schemes."""
        return tuple(s for s in map(schemes.get, self.attention) if isinstance(s, schemes.ATTENTION_SCHEMES))

    def kept(self, axis: str, size: int, multiple: int | None = None) -> int:
        """What structured pruning leaves of ``size`` on ``axis`` (heads, ffn, channels, layers, experts)."""
        for scheme in self.structured():
            if scheme.axis == axis:
                size = scheme.kept(size, multiple)
        return size

    def then(self, later: Compression) -> Compression:
        """This policy with ``later`` on top: later rules win."""
        return Compression(
            name=f"{self.name}+{later.name}"[:400],
            rules=self.rules + later.rules,
            structure=self.structure + later.structure,
            attention=self.attention + later.attention,
            notes=self.notes + later.notes,
            preset=self.preset and later.preset,
        )


def _on_top_of(data: dict[str, Any]) -> dict[str, Any]:
    """A user's policy with ``base: PRESET``: the preset's rules come first."""
    from viewer.compression.presets import parse

    if not isinstance(data["base"], str):
        raise InputError("base: the name of a preset")
    merged = dict(parse(data["base"])) | {"preset": False, "name": data.get("name", "custom")}
    for key in ("rules", "structure", "attention", "notes"):
        merged[key] = (*merged.get(key, ()), *(data.get(key) or ()))
    unknown = set(data) - {"base", "name", "rules", "structure", "attention", "notes"}
    return merged | {key: data[key] for key in unknown}


def _resolve(rules: tuple[Rule, ...], op: str, layer: int | None, n_layers: int, default16: str) -> OpFormats:
    chosen: dict[str, Any] = {}
    for rule in rules:
        if any(names.op_matches(pattern, op) for pattern in rule.ops) and names.layer_matches(
            rule.layers, layer, n_layers
        ):
            for field in _RULE_FIELDS:
                value = getattr(rule, field)
                if value is not None:
                    chosen[field] = value
                    if field == "kv":
                        chosen["kv_k"] = chosen["kv_v"] = value
    sixteen = formats.get(default16)

    def stored(role: str) -> TensorFormat:
        name = chosen.get(role, DEFAULT16)
        return sixteen if name == DEFAULT16 else formats.get(name)

    scheme, zeros = chosen.get("sparsity", "none"), chosen.get("activation_sparsity", "none")
    activation = stored("activation")
    return OpFormats(
        **{role: stored(role) for role in ROLES if role not in ("kv", "state")},
        state=stored("state") if "state" in chosen else None,
        sparsity=None if scheme == "none" else schemes.get(scheme),  # type: ignore[arg-type]
        activation_sparsity=None if zeros == "none" else schemes.get(zeros),  # type: ignore[arg-type]
        activation_dynamic=activation.is_quantized and not chosen.get("static_activation", False),
        hadamard=chosen.get("hadamard", False),
    )


_RULE_FIELDS = (*ROLES, "sparsity", "activation_sparsity", "static_activation", "hadamard")
