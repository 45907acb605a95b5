"""One file for each package that is compared with; each runs in an environment of its own."""
