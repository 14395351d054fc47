"""Scores that other programs wrote: read from their files, paired, compared; with known answers and simulated coverage."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import compare as door
from analysis.scores import files, paired
from analysis.scores.files import Choice, Score, Scores
from analysis.stats import mean_interval
from core.errors import BadInput


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(values: Any, path: str = "f", **more: list[Any]) -> Scores:
    rows = [Score(str(i), float(value), **{name: column[i] for name, column in more.items()}) for i, value in enumerate(values)]
    return Scores(path, tuple(rows), "plain, score")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = door.main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def result(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_plain_files_are_paired_by_id_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = jsonl(tmp_path / "a.jsonl", [{"id": i, "score": i % 2} for i in range(40)])
    other = [{"id": str(i), "score": i % 2 or i % 4 == 0} for i in reversed(range(5, 50))]
    second = jsonl(tmp_path / "b.jsonl", [*other, {"id": 7, "score": 0}])
    found = result(capsys, first, second)
    assert found["n_items"] == 35
    assert [(one["n_left_out"], one["n_repeated"]) for one in found["files"]] == [(5, 0), (10, 1)]
    d = np.array([(1.0 if i % 4 == 0 else 0.0) - 0.5 * (i == 7) for i in range(5, 40)])
    known = found["comparisons"][0]["difference"]
    assert known["value"] == pytest.approx(d.mean())
    half_width = 2.0322 * d.std(ddof=1) / np.sqrt(35)  # Student's t with 34 degrees of freedom
    assert known["high"] - known["value"] == pytest.approx(half_width, rel=1e-4)
    text = run(capsys, first, second)[1]
    assert "35 paired, 10 left out, 1 repeated" in text


def test_seeds_and_items_are_compared_as_the_projects_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    table = rng.random((2, 3, 30))
    names = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path, scores_SI in zip(names, table, strict=True):
        rows = [f"{s},q{i},{scores_SI[s, i]}" for s in range(3) for i in range(30)]
        path.write_text("seed,id,score\n" + "\n".join(rows) + "\n")
    found = result(capsys, *names)["comparisons"][0]["difference"]
    own = mean_interval(table[1] - table[0])
    assert (found["value"], found["low"], found["high"]) == pytest.approx((own.value, own.low, own.high))


def test_weights_and_groups_are_worked_into_mean_and_interval() -> None:
    rng = np.random.default_rng(3)
    weight, group = rng.uniform(1, 5, 60), np.repeat(["a", "b", "c"], 20)
    level = np.repeat([0.0, 5.0, -3.0], 20)
    first, second = rng.random(60), rng.random(60) + level
    columns = {"weight": list(weight), "group": list(group)}
    found = paired.pair([scores(first, "a", **columns), scores(second, "b", **columns)])
    assert found.scores_FSC.mean(axis=(1, 2)) == pytest.approx(
        [np.average(first, weights=weight), np.average(second, weights=weight)]
    )
    one = paired.compare(found, ["a", "b"]).comparisons[0].difference
    assert one.high - one.low < 0.5  # the levels of fixed groups are no noise: their spread alone would make it 1.7


def test_one_id_in_two_groups_is_no_repeated_item() -> None:
    rows = [Score(str(i), 0.0, group=group) for group in ("mmlu", "arc") for i in range(20)]
    twice = Scores("a", tuple(rows), "plain, score")
    with pytest.raises(BadInput, match="a: id '0' has the group 'mmlu' and 'arc'; give other items other ids"):
        paired.pair([twice, twice])


def test_items_of_one_cluster_count_as_drawn_together() -> None:
    """Ten copies of each of 30 items are no more than the 30."""
    rng = np.random.default_rng(5)
    d = rng.normal(0.1, 1, 30)
    plain = paired.pair([scores(np.zeros(30), "a"), scores(d, "b")])
    names = {"cluster": [f"c{i}" for i in range(30) for _ in range(10)]}
    copies = paired.pair([scores(np.zeros(300), "a", **names), scores(np.repeat(d, 10), "b", **names)])
    one, ten = (paired.compare(found, ["a", "b"]).comparisons[0].difference for found in (plain, copies))
    assert (ten.value, ten.low, ten.high) == pytest.approx((one.value, one.low, one.high))
    assert ten.n_items == 300


@pytest.mark.parametrize("kind", ["binary", "grouped", "clustered"])
def test_the_interval_covers_and_equal_files_are_rarely_told_apart(kind: str) -> None:
    rng, hit, told, n = np.random.default_rng(11), 0, 0, 600
    columns: dict[str, list[Any]] = {}
    if kind == "grouped":
        columns = {"group": [f"g{i % 4}" for i in range(120)], "weight": [1.0 + i % 3 for i in range(120)]}
    if kind == "clustered":
        columns = {"cluster": [f"c{i // 4}" for i in range(120)]}
    for _ in range(n):
        ability = rng.normal(0, 1.5, 120) if kind != "clustered" else np.repeat(rng.normal(0, 1.5, 30), 4)
        # whether the second file is better differs from cluster to cluster: items of one are drawn together
        shift = 0.0 if kind != "clustered" else np.repeat(rng.normal(0, 1.0, 30), 4)
        draw = [(rng.random(120) < 1 / (1 + np.exp(-x))).astype(float) for x in (ability, ability + shift)]
        found = paired.compare(paired.pair([scores(d, name, **columns) for d, name in zip(draw, "ab", strict=True)]), ["a", "b"])
        one = found.comparisons[0]
        hit += one.difference.low <= 0 <= one.difference.high
        told += one.better.decided
    assert 0.93 <= hit / n <= 0.972  # 95 %, with two and a half standard errors of 600 draws
    assert told == n - hit


def test_the_best_of_several_equal_files_is_almost_never_left_out() -> None:
    """Five files, one a little better: the set that cannot be told from the best holds it in at least 95 %."""
    rng, kept, n, size = np.random.default_rng(2), 0, 300, 0
    for _ in range(n):
        draw = rng.normal(0, 1, (5, 80)) + np.array([0, 0, 0, 0.05, -0.8])[:, None]
        found = paired.compare(paired.pair([scores(d, name) for d, name in zip(draw, "abcde", strict=True)]), list("abcde"))
        kept += "d" in found.best
        size += len(found.best)
    assert kept / n >= 0.94
    assert size / n < 4.3  # the bad one is put out


def test_holm_equality_and_direction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(4)
    base = rng.normal(0, 1, 400)
    shifts = {"a": 0.0, "same": 0.0, "lower": -0.3}
    paths = [
        jsonl(tmp_path / f"{name}.jsonl", [{"id": i, "score": float(x + shift + 0.1 * rng.normal())} for i, x in enumerate(base)])
        for name, shift in shifts.items()
    ]
    found = result(capsys, *paths, "--equivalence", "0.05")
    assert [one["better"] for one in found["comparisons"]] == ["undecided", "contradicted"]
    assert [one["equal"] for one in found["comparisons"]] == ["supported", "contradicted"]
    assert found["not_told_from_the_best"] == ["a.jsonl", "same.jsonl"]
    turned = result(capsys, *paths, "--lower-is-better")
    assert turned["comparisons"][1]["better"] == "supported"
    assert turned["not_told_from_the_best"] == ["lower.jsonl"]
    assert 0 < found["comparisons"][0]["minimum_detectable"] < 0.05


def test_few_items_and_equal_scores_decide_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [jsonl(tmp_path / f"{n}.jsonl", [{"id": i, "score": n + 0.01 * i * n} for i in range(6)]) for n in range(2)]
    one = result(capsys, *few)["comparisons"][0]
    assert (one["better"], one["note"]) == ("undecided", "only 6 items")
    same = [jsonl(tmp_path / f"s{n}.jsonl", [{"id": i, "score": i % 2} for i in range(60)]) for n in range(2)]
    found = result(capsys, *same)
    assert found["comparisons"][0]["better"] == "undecided"
    assert found["not_told_from_the_best"] == ["s0.jsonl", "s1.jsonl"]
    assert "no spread" in run(capsys, *same)[1]


def harness(
    n: int, right: Any, filters: tuple[str, ...] = ("none",), metrics: tuple[str, ...] = ("exact_match",)
) -> list[dict[str, Any]]:
    return [
        {"doc_id": i, "doc": {"q": i}, "target": "t", "resps": [], "filtered_resps": [], "filter": name, "metrics": list(metrics),
         "doc_hash": f"h{i}", **{metric: float(right(i, name)) for metric in metrics}}
        for i in range(n) for name in filters
    ]  # fmt: skip


def test_samples_of_the_harness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = jsonl(tmp_path / "samples_gsm8k_2026-01-02T03-04-05.678.jsonl", harness(30, lambda i, name: i % 2))
    second = jsonl(tmp_path / "b.jsonl", harness(30, lambda i, name: i % 3 == 0))
    found = result(capsys, first, second)
    assert found["n_items"] == 30
    assert found["comparisons"][0]["difference"]["value"] == pytest.approx(10 / 30 - 0.5)
    assert "exact_match" in found["files"][0]["what"]
    both = jsonl(tmp_path / "f.jsonl", harness(30, lambda i, name: name == "strict", ("strict", "flexible")))
    assert "choose one with --filter" in run(capsys, first, both)[2]
    assert [one.value for one in files.read(both, Choice(filter="strict")).rows] == [1.0] * 30
    two = jsonl(tmp_path / "m.jsonl", harness(30, lambda i, name: 1, metrics=("acc", "acc_norm")))
    assert "has acc, acc_norm; choose one with --metric" in run(capsys, two, second)[2]
    old = jsonl(
        tmp_path / "old.jsonl", [{"doc_id": i, "doc": {}, "target": 1, "resps": [], "acc": i % 2 == 0} for i in range(30)]
    )
    assert [one.value for one in files.read(old, Choice()).rows[:2]] == [1.0, 0.0]
    other = harness(30, lambda i, name: 1)
    other[3]["doc_hash"] = "another"
    code, _, err = run(capsys, first, jsonl(tmp_path / "o.jsonl", other))
    assert (code, "id '3' is another question" in err) == (2, True)


def test_a_directory_of_the_harness_is_a_group_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run_name, off in (("a", 0), ("b", 1)):
        (tmp_path / run_name).mkdir()
        for task in ("mmlu_law", "mmlu_art"):
            path = tmp_path / run_name / f"samples_{task}_2026-01-0{off + 1}T03-04-05.678.jsonl"
            jsonl(
                path,
                [row | {"doc_hash": f"{task}{row['doc_id']}"} for row in harness(15, lambda i, name, k=off: (i + k) % 3 == 0)],
            )
    found = result(capsys, tmp_path / "a", tmp_path / "b")
    assert found["n_items"] == 30
    assert {one.group for one in files.read(tmp_path / "a", Choice()).rows} == {"mmlu_law", "mmlu_art"}


def test_logs_of_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def log(values: list[Any]) -> dict[str, Any]:
        samples: list[dict[str, Any]] = [
            {"id": i % 12, "epoch": 1 + i // 12, "input": "?", "scores": {"match": {"value": value}}}
            for i, value in enumerate(values)
        ]
        return {
            "version": 2,
            "status": "success",
            "eval": {"task": "t"},
            "samples": [*samples, {"id": 99, "epoch": 1, "error": {}}],
        }

    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text(json.dumps(log(["C", "I", "P", "N"] * 6)))
    second.write_text(json.dumps(log([1, True, "0.5", 0] * 6)))
    found = result(capsys, first, second)
    assert (found["n_items"], found["files"][0]["n_repeated"], found["files"][0]["n_unscored"]) == (12, 12, 1)
    assert found["comparisons"][0]["difference"]["value"] == pytest.approx(0.25)
    several = log([{"a": 1, "b": 0}] * 24)
    second.write_text(json.dumps(several))
    assert "match/a, match/b; choose one with --metric" in run(capsys, first, second)[2]
    archive = tmp_path / "log.eval"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("header.json", bytes(range(256)) * 20)
    code, _, err = run(capsys, first, archive)
    assert (code, "inspect log convert" in err) == (2, True)


BAD: dict[str, tuple[str, str]] = {
    "no_score": ('{"id": 1, "points": 2}', "no score; it has id, points"),
    "no_id": ('{"score": 2}', "no id"),
    "not_json": ('{"id": 1, "score": 1}\nhello', "line 2: not JSON"),
    "nan": ('{"id": 1, "score": NaN}', "score=nan: must be a finite number"),
    "null": ('{"id": 1, "score": null}', "score=None: must be a finite number"),
    "text": ('{"id": 1, "score": "0.5"}', "must be a finite number"),
    "list": ("[[1, 2]]", "must be an object"),
    "weight": ('{"id": 1, "score": 1, "weight": 0}', "weight=0: must be above 0"),
    "id": ('{"id": [1], "score": 1}', "id=[1]: must be text"),
    "seed": ('{"id": 1, "score": 1, "seed": 3}', "some scores have a seed and some have none"),
    "other": ('{"id": "x", "score": 1}', "no id in common"),
    "empty": ("", "is empty"),
    "blank": ("\n", "has no scores"),
    "large": ('{"id": 1, "score": 1' + "0" * 400 + "}", "score=a whole number of many digits: must be a finite number"),
    "mixed": ('{"id": 1, "score": 1}\n{"doc_id": 1, "acc": 1}', "line 2: no score; it has doc_id"),
    "log": ('{"eval": {}, "results": {}}', "without samples"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = jsonl(tmp_path / "good.jsonl", [{"id": i, "score": 1} for i in range(20)])
    bad = tmp_path / "bad.jsonl"
    bad.write_text(BAD[name][0])
    code, out, err = run(capsys, good, bad)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert BAD[name][1] in err
    assert "bad.jsonl" in err or name == "other"


def test_bad_commands_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = jsonl(tmp_path / "good.jsonl", [{"id": i, "score": 1} for i in range(20)])
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    truncated = tmp_path / "cut.jsonl.gz"
    truncated.write_bytes(gzip.compress(good.read_bytes())[:-9])
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"id": "ü", "score": 1}'.encode("latin-1"))
    damaged = tmp_path / "damaged.jsonl.gz"
    whole = gzip.compress(good.read_bytes())
    damaged.write_bytes(whole[:12] + b"\xff\xff\xff" + whole[15:])
    huge = tmp_path / "huge.jsonl.gz"
    huge.write_bytes(gzip.compress(bytes(200 << 20)))
    for words, told in (
        ([good], "give two files or more"),
        ([], "give two files or more"),
        ([good, good], "given twice"),
        ([good, tmp_path / "none.jsonl"], "none.jsonl: no such file"),
        ([good, tmp_path], "without samples_"),
        ([good, binary], "UTF-16 or UTF-32 text; save it as UTF-8"),
        ([good, latin], "line 1: not UTF-8 text"),
        ([good, truncated], "not a whole gzip file"),
        ([good, damaged], "not a whole gzip file"),
        ([good, huge], "unpack to more than"),
        ([good, tmp_path / "token=x.jsonl"], "token=x.jsonl: no such file"),
        ([good, tmp_path / "x", "--equivalence", "-1"], "must be a number above 0"),
        ([good, tmp_path / "x", "--equivalent", "1"], "did you mean '--equivalence'?"),
        ([good, tmp_path / "x", "--metric"], "needs a value"),
    ):
        code, out, err = run(capsys, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert told in err, (words, err)


def test_other_metrics_tables_and_compressed_files(tmp_path: Path) -> None:
    table = tmp_path / "a.tsv"
    table.write_text('id\trouge\tnote\n"q\n1"\t0.5\tx\nq2\tTrue\t\n', encoding="utf-8-sig")
    assert [(one.id, one.value) for one in files.read(str(table), Choice("rouge")).rows] == [("q\n1", 0.5), ("q2", 1.0)]
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress('{"id": "ü\u2028", "score": 1}\n{"id": "b", "score": 0}'.encode()))
    assert [one.id for one in files.read(str(packed), Choice()).rows] == ["ü\u2028", "b"]


def test_seeds_with_items_of_their_own_compare_their_means() -> None:
    rng = np.random.default_rng(9)
    rows = [[Score(f"{s}-{i}", float(x), str(s)) for s in range(4) for i, x in enumerate(rng.random(12) + k)] for k in range(2)]
    found = paired.pair([Scores(str(k), tuple(row), "plain") for k, row in enumerate(rows)])
    one = paired.compare(found, ["0", "1"]).comparisons[0].difference
    assert (found.crossed, found.n_items, found.n_seeds, one.df) == (False, 48, 4, 3)
