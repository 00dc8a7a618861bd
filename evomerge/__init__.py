"""evomerge: evolve large language models by merging them, generation after generation."""

__version__ = "0.1.0"
