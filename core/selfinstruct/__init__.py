"""Instruction data by a model. Self-Instruct (Wang et al. 2022): from a few tasks of yours it proposes more and answers them;
filters drop what is malformed, too short or long, or near to what is there already or to what evaluation asks. Self-distillation
(Yang et al. 2024): it rewrites the answers of your rows; a reply that does not pass leaves the row its own.

`writers.py` asks a local model or an endpoint, `prompts.py` has the words, `filters.py` says what is dropped and why,
`pipeline.py` (Self-Instruct) and `rewriting.py` put them together, `journal.py` keeps every reply, so that a run that is killed
goes on and asks nothing twice, and `output.py` writes rows and card.
"""
