"""Models and features for a speaker, and features for models."""
