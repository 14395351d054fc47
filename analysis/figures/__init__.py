"""Figures: matplotlib and nothing else. Drawing computes nothing."""
