"""What a method cannot do with some setting or base is one line before anything starts, not a trial that fails or a setting that
does nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import MARKED

from core import preflight
from core.errors import BadInput
from core.method_settings import Lora
from core.settings import Data, Model, Trial

pytest.importorskip("torch")

ORTHOGONAL = Lora(rank=4, init="orthogonal")


@pytest.mark.parametrize(
    ("architecture", "quantization", "says"),
    [
        ("qwen2", "nf4", "layers of 4 bits; use kaiming or gaussian, or an unquantized base"),
        ("qwen2", "fp4", "layers of 4 bits; use kaiming or gaussian, or an unquantized base"),
        ("qwen2", "int8", "layers of 8 bits; use kaiming or gaussian, or an unquantized base"),
        ("mixtral", "none", "a mixture's experts; use kaiming or gaussian, or adapter.targets=attention"),
    ],
)
def test_an_orthogonal_start_that_peft_cannot_make_is_refused(
    make_model: Callable[..., str], rows_file: str, architecture: str, quantization: str, says: str
) -> None:
    base = Model(name=make_model(architecture, MARKED), quantization=quantization)
    with pytest.raises(BadInput) as error:
        preflight.inspect(Trial(model=base, data=Data(source=rows_file), adapter=ORTHOGONAL))
    assert error.value.field == "adapter.init"
    assert str(error.value) == f"adapter.init=orthogonal: PEFT has it not for {says}"
    if architecture == "mixtral":
        attention = Lora(rank=4, init="orthogonal", targets="attention")
        preflight.inspect(Trial(model=base, data=Data(source=rows_file), adapter=attention))
