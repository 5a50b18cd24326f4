"""Aparella pairs short item descriptions with a long official catalogue, in batches, at scale."""

from importlib.metadata import version

__version__ = version("aparella")
