"""Whatever the text, a config comes out or a `ConfigError` does."""

import tempfile
from pathlib import Path

from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evomerge.cli import validate
from evomerge.configfile import anchored, config_id, dump, parse
from evomerge.domain.errors import ConfigError

GOOD = (Path(__file__).parents[3] / "configs" / "mistral7b.yaml").read_text(encoding="utf-8")
LINES = [line for line in GOOD.splitlines() if line.strip() and not line.strip().startswith("#")]

FRAGMENTS = st.sampled_from(
    ["", "null", "~", "true", "no", "-1",
     "0", "1e-3", "1e999", ".nan", ".inf", "[]", "{}", "[1, 2]",
     "{a: 1}", "'", '"', "&a", "*a", "<<: *a", "? ", "- ", ": ", "#", "!!str x", "|", ">", "\t",
     "%YAML 1.2", "---", "...", '"\\ud800"', '"\\x00"', "\ufeff", "\x85", "\u2028", "../x", "a: b",
     "slerp", "mergekit", "pool_unchanged", "max_hours: 1", "{filters: {a: 1}, default: 0}",
     "[0, true]", "99999999999999999999", "0x1F", "[[[[", "}}}}", "é", "\U0001f600"]
)  # fmt: skip
VALUES = st.one_of(FRAGMENTS, st.text(max_size=8))
MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["drop", "double", "swap", "value", "key", "insert", "indent", "cut"]),
        st.integers(0, len(LINES) - 1),
        st.integers(0, len(LINES) - 1),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def mutated(mutations):
    lines = list(LINES)
    for kind, first, second, text in mutations:
        i, j = first % len(lines), second % len(lines)
        head, colon, tail = lines[i].partition(":")
        match kind:
            case "drop" if len(lines) > 1:
                del lines[i]
            case "double":
                lines.insert(i, lines[i])
            case "swap":
                lines[i], lines[j] = lines[j], lines[i]
            case "value":
                lines[i] = f"{head}: {text}"
            case "key":
                lines[i] = f"{head[: len(head) - len(head.lstrip())]}{text}{colon}{tail}"
            case "insert":
                lines.insert(i, text)
            case "indent":
                lines[i] = "  " + lines[i] if j % 2 else lines[i][2:]
            case "cut":
                lines[i] = lines[i][: j % (len(lines[i]) + 1)]
    return "\n".join(lines)


def outcome(text, overrides=()):
    """Parse; a config must survive the way to YAML and back, an error must be printable lines."""
    problems = ()
    try:
        config = parse(text, "x.yaml", overrides)
        anchored(config, Path("/nowhere"))
        again = parse(dump(config), "dumped.yaml")
        assert again == config
        assert config_id(again) == config_id(config)
    except ConfigError as error:
        problems = error.problems
    for problem in problems:
        assert str(problem).isprintable()
        assert problem.where.startswith(("x.yaml", "--set"))


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(CALM, max_examples=350)
@given(MUTATIONS)
def test_a_mutated_config(mutations):
    outcome(mutated(mutations))


@settings(CALM, max_examples=150)
@given(
    st.text(alphabet=st.sampled_from("ab:- \n\t[]{}&*!|>'\"#?,%@`\\~<.=0\ud800\x00é"), max_size=40)
)
def test_any_text(text):
    outcome(text)


KEYS = st.lists(
    st.sampled_from(
        ["run", "name", "merge", "parameters", "t", "filters", "mlp", "evaluation", "tasks", "0",
         "1", "9", "stopping", "no_improvement", "patience", "strategy", "k", "foundation_models",
         "model", "method", "x", '"a.b"', "-1", "", "base_model", "kinship", "options"]
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


@settings(CALM, max_examples=200)
@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=3))
def test_any_override(overrides):
    outcome("\n".join(LINES), [f"{'.'.join(keys)}={value}" for keys, value in overrides])


@settings(CALM, max_examples=150)
@given(MUTATIONS, st.booleans())
def test_the_command_line_ends_with_0_or_2(mutations, as_json):
    """The whole way of a file: read as bytes, told on stderr or as JSON, never a traceback."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.yaml")
        path.write_bytes(mutated(mutations).encode("utf-8", "surrogatepass"))
        words = [str(path), "--json"] if as_json else [str(path)]
        result = CliRunner().invoke(validate.command, words)
    if isinstance(result.exception, ConfigError):
        assert result.exception.exit_code == 2
        assert not as_json
    else:
        assert result.exit_code in {0, 2}, result.exception
