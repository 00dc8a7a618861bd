"""The work of a generation, done above the seam: what the store lacks is asked of workers."""
