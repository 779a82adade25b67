"""Helpers on top of the runtime."""

from . import graph_executor

graph_runtime = graph_executor
