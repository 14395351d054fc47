"""Sweeps: plan an experiment's trials, search inside its arms, run them with Ray Tune, log them to MLflow."""
