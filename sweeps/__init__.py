"""Sweeps: plan an experiment's trials, search inside its cells, run them with Ray Tune, log them to MLflow."""
