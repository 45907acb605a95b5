"""Models: starts, steps and emissions put together."""
