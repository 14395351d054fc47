"""Data: a source (file, hub id, laboratory) → rows of messages → a seeded nested subset → tokens with a loss mask.

`sources` reads, `shapes` converts, `rows` selects and splits, `tokens` renders and masks. Only `tokens` needs a tokenizer.
"""
