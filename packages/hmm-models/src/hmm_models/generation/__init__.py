"""From states to smooth trajectories of features."""
