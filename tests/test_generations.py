"""What base and tuned model write side by side: kept of final trials, logged as a table, shown escaped in a fold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.reports import generations
from core import fields
from core.hardware import Device
from core.settings import Data, Evaluation, Model, Trial

SOURCE = "reasoning-gym:chain_sum(max_digits=1;max_terms=2)+gcd"


@pytest.mark.parametrize("own", [True, False])
def test_a_final_trial_keeps_what_is_written(make_model: Callable[..., str], rows_file: str, tmp_path: Path, own: bool) -> None:
    pytest.importorskip("torch")
    from core import model as models
    from core.tasks import samples
    from core.tasks.measurement import Subject

    base = models.load(Model(name=make_model("llama")), Device())
    trial = Trial(
        model=Model(name="m"), data=Data(source=rows_file if own else SOURCE, eval_share=0.4),
        evaluation=Evaluation(max_new_tokens=3, generations=4, items_per_task=3),
    )  # fmt: skip
    from core.data import selection

    held_out = selection.select(trial.data, trial.evaluation, 0).evaluation
    subject = Subject(base.model, base.tokenizer, trial, (), base.model, 128, asked=held_out)
    samples.write(tmp_path, subject)
    table = json.loads((tmp_path / "generations.json").read_text())
    assert table["columns"] == ["prompt", "right answer", "base", "tuned"]
    assert len(table["data"]) == 4
    assert all(one == two for *_, one, two in table["data"])  # the base itself
    assert any(one.endswith(" […]") for *_, one in table["data"])  # three tokens end nothing
    if own:
        assert [row[:2] for row in table["data"]] == [[m["content"] for m in row.messages] for row in held_out[:4]]
    else:
        assert ["gcd" if "GCD" in row[0] or "Greatest" in row[0] else "chain_sum" for row in table["data"]] == [
            "chain_sum", "gcd", "chain_sum", "gcd",
        ]  # fmt: skip
    for change in ({"evaluation.split": "validation"}, {"evaluation.generations": 0}, {"data.source": "lab:curated"}):
        (tmp_path / "generations.json").unlink(missing_ok=True)
        other = trial
        for name, value in change.items():
            other = fields.replace_field(other, name, value)
        samples.write(tmp_path, Subject(base.model, base.tokenizer, other, (), base.model, 128, asked=held_out))
        assert not (tmp_path / "generations.json").exists(), change


def test_examples_of_choices_are_none_of_the_prompts_that_are_shown(make_model: Callable[..., str], rows_file: str) -> None:
    pytest.importorskip("torch")
    from core import model as models
    from core.data import selection
    from core.tasks import prompts
    from core.tasks.measurement import Subject

    base = models.load(Model(name=make_model("llama")), Device())
    trial = Trial(data=Data(source=rows_file, eval_share=0.4), evaluation=Evaluation(tasks="text+choices", shots=3))
    held_out = selection.select(trial.data, trial.evaluation, 0).evaluation
    put = prompts.held_out(Subject(base.model, base.tokenizer, trial, (), base.model, 128, asked=held_out))
    assert {len(one.messages) for one, _ in put} == {1}


def test_the_section_shows_arms_side_by_side_and_no_text_becomes_markup() -> None:
    nasty = "<script>|x|</script>\n# head `code` **bold** [a](b) &amp;"
    rows = [{"prompt": nasty, "right answer": "a|b", "base": "", "tuned": "t" * 500}]
    written = {f"arm {i}": [dict(rows[0], tuned=f"by {i}")] for i in range(6)} | {"arm 0": rows}
    heading, opening, table, closing = generations.section(written)
    assert heading.startswith("## ")
    assert (opening[:9], closing.strip()) == ("<details>", "</details>")
    assert "of 6 arms the first 4" in opening
    header, _, line, *rest = table.splitlines()
    assert not rest
    assert header.count("|") == line.count("|") == 3 + 4 + 1
    assert not any(sign in line for sign in ("<script", "**", "`", "[a]"))
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").enable("table").render("\n".join([heading, opening, table, closing]))
    assert "&lt;script&gt;|x|&lt;/script&gt;<br># head `code` **bold** [a](b) &amp;amp;" in page
    assert "t" * 401 not in page
    assert generations.section({}) == ()


def test_the_store_gives_back_what_was_logged(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    from core import tracking

    uri = tracking.default_uri(tmp_path)
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "generations.json").write_text(json.dumps({"columns": ["prompt", "tuned"], "data": [["p", "t"]]}))
    client = mlflow.MlflowClient(uri)
    run = client.create_run(client.create_experiment("x", artifact_location=(tmp_path / "files").as_uri()))
    assert tracking.read_generations(uri, run.info.run_id, run.info.artifact_uri) == []
    client.log_artifact(run.info.run_id, str(folder / "generations.json"))
    for place in (run.info.artifact_uri, ""):
        assert tracking.read_generations(uri, run.info.run_id, place) == [{"prompt": "p", "tuned": "t"}]
