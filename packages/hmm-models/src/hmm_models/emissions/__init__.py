"""Densities of observations."""
