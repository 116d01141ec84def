"""The accuracy side of a what-if: quantizers, their errors, and an ordinal risk. Never a perplexity."""

from __future__ import annotations

from viewer.error.assess import RISK_CLASSES, Assumed, ErrorAssessment, OpSetting, assess, risk_class
from viewer.error.measure import Measurement, TensorError, measure_checkpoint, op_of_tensor
from viewer.error.metrics import cosine, mse, sqnr_db
from viewer.error.quantizers import Quantizer, quantizer
from viewer.error.sensitivity import load_sensitivities
from viewer.error.table import sqnr_db as assumed_sqnr_db

__all__ = [
    "RISK_CLASSES",
    "Assumed",
    "ErrorAssessment",
    "Measurement",
    "OpSetting",
    "Quantizer",
    "TensorError",
    "assess",
    "assumed_sqnr_db",
    "cosine",
    "load_sensitivities",
    "measure_checkpoint",
    "mse",
    "op_of_tensor",
    "quantizer",
    "risk_class",
    "sqnr_db",
]
