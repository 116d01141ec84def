"""Efficiency models: from the bound of a kernel to an estimate of its time, with an interval."""
