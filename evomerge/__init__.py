"""evomerge: evolution of large language models by merging (arXiv 2410.12613)."""

__version__ = "0.1.0"
