"""What a model writes by itself: padding, ends of turns, the model's context and its own way of generating change nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from conftest import MARKED, UNMARKED, make_tokenizer  # noqa: E402
from test_templates import QWEN3, SPECIAL  # noqa: E402

from core import model as models  # noqa: E402
from core.data import encode  # noqa: E402
from core.data.rows import Row  # noqa: E402
from core.hardware import Device  # noqa: E402
from core.settings import Model, Trial  # noqa: E402
from core.tasks import generation  # noqa: E402
from core.tasks.generation import Decoding, Written  # noqa: E402
from core.tasks.measurement import Subject  # noqa: E402
from core.tasks.prompts import Prompt  # noqa: E402
from core.thoughts import after_thoughts  # noqa: E402

PROMPTS = [[5, 9, 20], [7] * 11, [30, 31], [8, 12, 40, 41, 42, 43]]
NEVER = 319  # a token that greedy decoding of the tiny models does not reach


def one_by_one(network, prompt: list[int], ends: tuple[int, ...], most: int) -> Written:
    """Greedy decoding without padding and without a cache."""
    ids = list(prompt)
    for _ in range(most):
        token = int(network(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token in ends:
            return Written(tuple(ids[len(prompt) :]), True, token)
        ids.append(token)
    return Written(tuple(ids[len(prompt) :]), False)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_batches_write_what_each_prompt_gets_alone(make_model: Callable[..., str], architecture: str) -> None:
    network = models.load(Model(name=make_model(architecture)), Device()).model
    with torch.no_grad():
        free = [one_by_one(network, prompt, (NEVER,), 12) for prompt in PROMPTS]
        end = free[1].ids[5]  # a token that is surely written
        expected = [one_by_one(network, prompt, (NEVER, end), 12) for prompt in PROMPTS]
    assert expected[1].stopped
    for size in (1, 3, 8):
        assert generation.write(network, PROMPTS, Decoding((NEVER,), 12, size)) == free
        assert generation.write(network, PROMPTS, Decoding((NEVER, end), 12, size)) == expected


def test_the_context_is_the_limit_and_a_prompt_that_fills_it_gets_nothing(make_model: Callable[..., str]) -> None:
    network = models.load(Model(name=make_model("gpt2")), Device()).model  # 128 positions
    prompts = [[5] * 4, [6] * 120, [7] * 128, [8] * 200, []]
    found = generation.write(network, prompts, Decoding((NEVER,), 16, 8))
    assert [len(one.ids) for one in found] == [16, 8, 0, 0, 0]
    assert not any(one.stopped for one in found)


def test_in_bfloat16_the_head_is_given_no_slice_of_all_positions(make_model: Callable[..., str]) -> None:
    base = models.load(Model(name=make_model("llama"), dtype="bfloat16"), Device())
    seen: list[torch.Tensor] = []
    head = base.model.get_output_embeddings()
    mine = head.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    generation.write(base.model, [[5, 6, 7], [8, 9]], Decoding((NEVER,), most=3, batch_size=2))
    mine.remove()
    assert seen[0].shape[:2] == (2, 1)
    assert all(one.is_contiguous() for one in seen)
    assert not head._forward_pre_hooks


def test_the_models_own_way_of_generating_changes_nothing(make_model: Callable[..., str]) -> None:
    network = models.load(Model(name=make_model("llama")), Device()).model
    plain = generation.write(network, PROMPTS, Decoding((NEVER,), 8, 8))
    own = network.generation_config
    try:
        network.generation_config = type(own)(do_sample=True, temperature=5.0, repetition_penalty=3.0, max_new_tokens=2)
        assert generation.write(network, PROMPTS, Decoding((NEVER,), 8, 8)) == plain
        assert network.generation_config.temperature == 5.0
    finally:
        network.generation_config = own


def test_an_adapter_writes_as_its_base_before_it_is_trained(make_model: Callable[..., str]) -> None:
    from core import adapters
    from core.settings import Lora

    base = models.load(Model(name=make_model("llama")), Device())
    adapted = adapters.build(models.trial_copy(base, False), Lora(rank=2), base.new_tokens).model
    how = Decoding((NEVER,), 8, 8)
    assert generation.write(adapted.eval(), PROMPTS, how) == generation.write(base.model, PROMPTS, how)


@pytest.mark.parametrize("template", [MARKED, UNMARKED])
def test_an_answer_ends_where_the_template_ends_it(template: str) -> None:
    tokenizer = make_tokenizer(template)
    assert encode.end_ids(tokenizer) == (tokenizer.eos_token_id,)
    other = make_tokenizer(template.replace("</s>", "<|endoftext|>"))
    assert encode.end_ids(other) == (other.convert_tokens_to_ids("<|endoftext|>"), other.eos_token_id)
    endless = make_tokenizer("{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}")
    assert encode.end_ids(endless) == (endless.eos_token_id,)
    prompt = generation.prompt_ids(tokenizer, [Prompt.of("hello")])[0]
    assert tokenizer.decode(prompt) == "<u>hello<a>"
    assert generation.texts(tokenizer, [Written(tuple(tokenizer(" fine , </s>")["input_ids"]), True)]) == ["fine ,"]


@pytest.mark.parametrize(
    ("text", "begun", "said"),
    [
        ("<think>\n\n</think>\n\nParis", False, "Paris"),
        ("<think>\nIt is 5. Or 7.\n</think>7", False, "7"),
        ("\n<think>\nIt is 5", False, ""),  # cut: no answer
        ("It is 5.\n</think>\n\n7", True, "7"),  # the prompt ends with the mark
        ("It is 5", True, ""),
        ("7 </think> 8", False, "7 </think> 8"),
        ("Paris", False, "Paris"),
    ],
)
def test_thoughts_before_an_answer_are_no_part_of_it(text: str, begun: bool, said: str) -> None:
    assert after_thoughts(text, begun) == said


def test_an_answer_has_room_for_what_is_taught() -> None:
    """With the empty thoughts that Qwen3's template puts before it, and as long as rows are trained on."""
    tokenizer = make_tokenizer(QWEN3, SPECIAL)
    words = "the quick fox " * 60
    for text, seq_len, most in (("red", 96, None), (words, 1_024, None), (words, 100, 100)):
        subject = Subject(None, tokenizer, Trial(), (), None, seq_len)  # type: ignore[arg-type]
        row = Row("", ({"role": "user", "content": "a"}, {"role": "assistant", "content": text}))
        taught = sum(encode.encode(tokenizer, row).mask)
        assert taught > len(tokenizer(text)["input_ids"]) + 2
        assert generation.room(subject, ["a", text]) == (most or math.ceil(1.25 * taught))
