"""A figure with its provenance: the building block of every device description."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["datasheet", "measured", "derived"]
Seen = Literal["read", "reproduced", "recalled"]


class Strict(BaseModel):
    """Base of the schema: unknown fields are errors, values are final, infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_strip_whitespace=True)


class Quantity(Strict):
    """A number in SI units (the field that holds it names the unit) and where it comes from.

    kind: ``datasheet`` (the vendor states it), ``measured`` (somebody ran it) or ``derived`` (computed
    from other figures). seen: ``read`` at its source, ``reproduced`` by arithmetic from other figures of
    the device within 1 %, or only ``recalled``: check it before you rely on it.
    ``uncertainty`` is a relative half-width (0.02 is 2 %) where the source gives one.
    """

    value: float = Field(gt=0)
    kind: Kind
    source: str = Field(min_length=3, max_length=500)
    seen: Seen
    note: str | None = Field(default=None, max_length=1000)
    uncertainty: float | None = Field(default=None, ge=0, le=1)


class Figure(Strict):
    """One row of ``Hardware.figures()``: a number as a reader wants to see it listed."""

    what: str
    value: float
    unit: str
    kind: Kind
    seen: Seen
    source: str
    note: str | None = None
