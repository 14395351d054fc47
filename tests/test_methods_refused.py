"""What a method cannot do with some setting or base is one line before anything starts, not a trial that fails or a setting that
does nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import MARKED
from test_methods import made

from core import adapters, preflight
from core.adapters import METHODS
from core.errors import BadInput
from core.fields import replace_field
from core.hardware import Device
from core.method_settings import Lora
from core.settings import Data, Model, Trial

torch = pytest.importorskip("torch")

from core import model as models  # noqa: E402
from core import optimizing, train  # noqa: E402

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


@pytest.mark.parametrize("name", list(METHODS))
def test_weight_decay_is_for_something_that_the_method_trains_or_refused(
    make_model: Callable[..., str], rows_file: str, name: str
) -> None:
    trial = replace_field(made(name, make_model("qwen2", MARKED), rows_file), "train.weight_decay", 0.1)
    loaded, method = models.load(trial.model, Device()), METHODS[name]
    model = adapters.build(models.trial_copy(loaded, method.changes_base), trial.adapter, loaded.new_tokens).model
    decaying = train.ResponseTrainer.get_decay_parameter_names(None, model)
    first, beside = optimizing.groups(model, trial.train, decaying)
    assert any(group["weight_decay"] for group in (*first, *beside)) is method.decays
    if method.decays:
        assert adapters.method_of(trial) is method
        return
    with pytest.raises(BadInput, match=r"train.weight_decay=0.1: .* trains nothing else; leave it at 0") as error:
        preflight.inspect(trial)
    assert error.value.field == "train.weight_decay"
