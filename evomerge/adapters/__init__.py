"""The ports' real implementations: mergekit and its like, each in a child process of its own."""
