"""Instruction data by the Self-Instruct road (Wang et al. 2022): from a few tasks of yours a model proposes more and answers
them; filters drop what is malformed, too short or long, or near to what is there already or to what evaluation asks.

`writers.py` asks a local model or an endpoint, `prompts.py` has the words, `filters.py` says what is dropped and why,
`pipeline.py` puts them together, and `journal.py` keeps every reply, so that a run that is killed goes on and asks nothing twice.
"""
