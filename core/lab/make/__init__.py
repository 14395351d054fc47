"""What built the laboratory: pretraining its bases, and its synthetic data."""
