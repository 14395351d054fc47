"""Data: a source (file, hub id, laboratory) → rows of messages → a seeded nested subset → tokens with a loss mask.

`sources` reads, `conversation` converts by `shapes`, `rows` holds, `kinds` is the table of sources, `selection` draws and sets
aside, `encode` renders and masks. Only `encode` needs a tokenizer.
"""
