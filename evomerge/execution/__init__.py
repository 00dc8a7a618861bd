"""The work of a generation: the store is consulted first, the rest goes to a pool of workers."""
