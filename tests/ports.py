"""Ports for servers that tests start."""

from config.embedded.ports import free_port

__all__ = ["free_port"]
