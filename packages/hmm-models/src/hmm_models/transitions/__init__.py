"""Which states follow each other."""
