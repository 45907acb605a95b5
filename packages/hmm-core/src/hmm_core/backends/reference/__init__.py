"""The definition of every operation: plain torch loops that read like the textbook."""
