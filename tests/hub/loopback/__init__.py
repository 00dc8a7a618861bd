"""A hub on loopback: what huggingface_hub and datasets ask of huggingface.co, and its faults."""

from loopback.server import Fault, Hub, Repository

__all__ = ["Fault", "Hub", "Repository"]
