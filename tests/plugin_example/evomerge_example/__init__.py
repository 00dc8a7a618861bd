"""What another package has for evomerge."""
