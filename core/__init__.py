"""One trial, end to end: data, base model, adapter, training, evaluation, record."""

import logging
import warnings

# It warns at import, on every machine without a GPU, that optional kernels are missing.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# TRL and PEFT still use a setting that transformers has renamed.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
