"""`evomerge analyze` over the paper's paths, runs and tables."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from evomerge.cli.analyze import command
from evomerge.domain.errors import ConfigError, UsageError

PAPER = Path(__file__).parents[2] / "golden" / "paper"


def analyze(*words):
    result = CliRunner().invoke(command, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_paper_s_table_1_and_stages_as_json():
    document = json.loads(analyze(PAPER / "paths.json", "--json"))
    one, two, both = document["series"]
    printed = json.loads((PAPER / "paths.json").read_text())["table1"]
    for metric in ("pcc", "cs", "ed"):
        plain, absolute = (one["kinship"][metric][key] for key in ("gain", "abs_gain"))
        found = {"gain": plain["r"], "p": plain["p"]}
        found |= {"abs_gain": absolute["r"], "abs_p": absolute["p"]}
        for key, value in found.items():
            assert abs(round(value, 2) - round(printed[metric][key], 2)) < 0.0101, (metric, key)
    assert one["stages"]["saturation"]["first"] == two["stages"]["saturation"]["first"] == 10
    assert both["merges"] == 14 + 12 - 3, "the two paths end in the same three merges"
    assert both["stages"] is None


def test_a_table_for_a_reader():
    text = analyze(PAPER / "paths.json")
    assert "path1  14 merges" in text
    assert "-0.51" in text
    assert re.search(r"saturation +10-14 ", text)


def test_the_csv_of_a_report_gives_what_the_run_gives(tmp_path):
    from evomerge.cli.replay import command as replay
    from evomerge.report.charts import kinship_and_gain
    from evomerge.report.reading import read_view
    from evomerge.store.run_directory import RunDirectory

    words = [str(PAPER / "landscape-kinship.json"), "--save", "arm", "--dir", str(tmp_path)]
    assert CliRunner().invoke(replay, words).exit_code == 0
    figure = kinship_and_gain(read_view(RunDirectory(tmp_path / "arm")))
    (tmp_path / "merges.csv").write_text(figure.csv())
    run = json.loads(analyze("arm", "--dir", tmp_path, "--json"))["series"][0]
    table = json.loads(analyze(tmp_path / "merges.csv", "--json"))["series"][0]
    assert run["merges"] == 17, "two merges whose parents the source does not name are left out"
    assert table["kinship"] == run["kinship"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "gain,kinship\n1,x\n", "row 1: kinship is 'x'"),
        ("a.csv", "gain,kinship\n1,nan\n", "finite"),
        ("a.csv", "kinship\n1\n", "row 1: no gain"),
        ("a.csv", "gain,weight\n1,2\n", "no kinship: expected one of"),
        ("a.csv", "", "no kinship"),
        ("a.json", "{", "Expecting"),
        ("a.json", "3", "tables of merges by name"),
        ("a.json", '{"x": 3}', "no table"),
    ],
)
def test_a_file_that_holds_no_merges_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        analyze(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_an_unknown_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no run named"):
        analyze("nothing", "--dir", tmp_path)
