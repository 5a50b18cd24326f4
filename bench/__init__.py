"""Benchmarks: `python -m bench [NAME]` from the repository root; one module per thing measured."""
