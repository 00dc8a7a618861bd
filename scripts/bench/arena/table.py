"""The arena's results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from versus import versus


def markdown(found: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    return "\n".join(
        [
            *_head(found),
            *_controls(found),
            *_possible(found),
            *_arms(found),
            *_by_fixture(found),
            *versus(found),
            *_of_tests(found),
            *_criteria(found),
            *_beside(found),
            "",
        ]
    )


def _head(found: Mapping[str, Any]) -> Iterator[str]:
    count = sum(not controls["faults"] for controls in found["fixtures"].values())
    yield "# The arena's results\n"
    yield (
        f"Written by `python scripts/bench/arena --report OUT_DIR` over {count} "
        f"fair fixture{'s' if count > 1 else ''}. Scores are in points. "
        + (
            "± is half of a 95 % interval over the fixtures.\n"
            if count > 1
            else "One fixture says nothing of others: its intervals are over items alone.\n"
        )
    )


def _controls(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Fixtures\n"
    yield "The controls, which see no search, decide; on a fixture that is unfair no arm was run.\n"
    yield (
        "| fixture | own task, lowest | other task, highest | one tensor of each | one embedding "
        "row of each | task arithmetic of all | unfair |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --- |"
    for title, controls in found["fixtures"].items():
        scores = controls["scores"]
        own = [scores[name][name] for name in controls["single_tensor"]]
        other = max(_others(controls), default=0.0)
        cells = [
            f"{min(own):.1f}",
            f"{other:.1f}",
            f"{controls['one_tensor_of_each']:.1f}",
            f"{controls['one_embedding_row_of_each']:.1f}",
            f"{max(controls['task_arithmetic_of_all'].values()):.1f}",
            "; ".join(controls["faults"]) or "no",
        ]
        yield f"| {title} | {' | '.join(cells)} |"


def _possible(found: Mapping[str, Any]) -> Iterator[str]:
    fixtures = {title: each["possible"] for title, each in found["fixtures"].items()}
    if not fixtures:
        return
    heads = list(next(iter(fixtures.values())))
    yield "\n## What is possible, and without a search: mean / weakest\n"
    yield (
        "On all items, exact match. Uniform merges of all parents at the best of three weights; "
        "one model of the same size, tuned on all skills together for the steps of all.\n"
    )
    yield f"| fixture | {' | '.join(heads)} |"
    yield f"| --- |{' --: |' * len(heads)}"
    for title, each in fixtures.items():
        scores = [list(each[head].values()) for head in heads]
        cells = [f"{mean(values):.1f} / {min(values):.0f}" for values in scores]
        yield f"| {title} | {' | '.join(cells)} |"


def _others(controls: Mapping[str, Any]) -> Iterator[float]:
    """The foundation models' scores on tasks that they were not tuned on."""
    for name in controls["single_tensor"]:
        for task, score in controls["scores"][name].items():
            if task not in controls.get("tuned_on", {}).get(name, [name]):
                yield score


def _arms(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["arms"]:
        return
    marks = found["marks"]
    yield "\n## Held-out score of the model that looked best, in points (mean over fixtures)\n"
    yield "Between seeds: standard deviation of the mean within a fixture. Kept: skills, of all.\n"
    head = [f"{what} at {mark}" for mark in marks for what in ("mean", "weakest", "kept")]
    head += ["between seeds", "dev − held-out", "children", "seconds a child", "seeds", "fixtures"]
    yield f"| arm | {' | '.join(head)} |"
    yield f"| --- |{' --: |' * len(head)}"
    last = marks[-1]
    key = f"held_out@{last}"
    for arm in sorted(
        [*found["arms"], *found["peers"]],
        key=lambda a: -a["mean"][key]["mean"] if key in a["mean"] else 0.0,
    ):
        average = arm["mean"]
        wanted = [f"{what}@{mark}" for mark in marks for what in ("held_out", "weakest", "kept")]
        wanted += [f"between_seeds@{last}", f"gap@{last}"]
        cells = [_cell(average[each]) if each in average else "–" for each in wanted]
        children, seconds = (average[key]["mean"] for key in ("children", "seconds"))
        cells += [f"{children:.0f}", f"{seconds / max(children, 1):.2f}"]
        cells.append(f"{min(entry.get('seeds', 1) for entry in arm['fixtures'])}")
        name = arm["name"] + (" (peer)" if arm in found["peers"] else "")
        yield f"| {name} | {' | '.join(cells)} | {len(arm['fixtures'])} |"


def _by_fixture(found: Mapping[str, Any]) -> Iterator[str]:
    """The table of every arm's mean and weakest skill on every fixture."""
    if not found["arms"]:
        return
    marks = found["marks"]
    numbers = sorted({entry["fixture"] for arm in found["arms"] for entry in arm["fixtures"]})
    yield "\n## By fixture: mean / weakest, held out (means over the seeds)\n"
    heads = [f"{number} at {mark}" for number in numbers for mark in marks]
    yield f"| arm | {' | '.join(heads)} |"
    yield f"| --- |{' --: |' * len(heads)}"
    for arm in found["arms"]:
        entries = {entry["fixture"]: entry for entry in arm["fixtures"]}
        cells = [
            f"{entries[n][f'held_out@{mark}']:.1f} / {entries[n][f'weakest@{mark}']:.0f}"
            if n in entries
            else "–"
            for n in numbers
            for mark in marks
        ]
        yield f"| {arm['name']} | {' | '.join(cells)} |"


def _cell(spread: Mapping[str, Any]) -> str:
    half = "" if spread["half"] is None else f" ± {spread['half']:.1f}"
    return f"{spread['mean']:.1f}{half}"


def _of_tests(found: Mapping[str, Any]) -> Iterator[str]:
    if found["tests"]:
        yield "\n## Against kinship, and against the search with TIES, on the same held-out items\n"
        yield (
            "The first interval is over items, of these fixtures; the second over fixtures. By "
            "fixture: one difference for every seed that both have.\n"
        )
        yield (
            "| arm | against | difference | over items | over fixtures | p, corrected | "
            "by fixture |"
        )
        yield "| --- | --- | --: | --- | --- | --: | --- |"
    for test in found["tests"]:
        over = test["over_fixtures"]
        low, high = (over["mean"] + sign * (over["half"] or math.nan) for sign in (-1, 1))
        cells = [
            f"{test['value']:+.1f}",
            f"[{test['low']:+.1f}, {test['high']:+.1f}]",
            f"[{low:+.1f}, {high:+.1f}]" if over["half"] is not None else "–",
            f"{test['p_corrected']:.4f}",
            "; ".join(
                f"{number}: " + ", ".join(f"{value:+.1f}" for value in values)
                for number, values in test["by_fixture"].items()
            ),
        ]
        yield f"| {test['arm']} | {test['against']} | {' | '.join(cells)} |"


def _criteria(found: Mapping[str, Any]) -> Iterator[str]:
    if found["stopping"]:
        yield "\n## What a stopping criterion would have cost (mean over runs)\n"
        yield "| arm | criterion | ended | children then | held-out then | at the end | cost |"
        yield "| --- | --- | --: | --: | --: | --: | --: |"
    for each in found["stopping"]:
        then, end = each["held_out"], each["held_out_at_the_end"]
        ended = f"{each['stopped'] * each['runs']:.0f} of {each['runs']}"
        cells = [each["arm"], each["criterion"], ended, f"{each['children']:.0f}"]
        yield f"| {' | '.join(cells)} | {then:.1f} | {end:.1f} | {end - then:.1f} |"


def _beside(found: Mapping[str, Any]) -> Iterator[str]:
    beside = found["simulation"]
    if beside:
        yield "\n## `evomerge simulate` beside the arena\n"
        yield "| arm | simulated | arena |"
        yield "| --- | --: | --: |"
        for name, each in sorted(beside["arms"].items(), key=lambda item: -item[1]["arena"]):
            yield f"| {name} | {each['simulated']:.1f} | {each['arena']:.1f} |"
        yield f"\nSpearman's rank correlation {beside['spearman']:+.2f} (p {beside['p']:.3f})."
