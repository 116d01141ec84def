"""Roofline performance analyzer for LLM inference."""
