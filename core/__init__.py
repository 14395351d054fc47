"""One trial, end to end: data, base model, adapter, training, evaluation, record."""
