"""The journal of a whole run, cut and flipped everywhere: it resumes or refuses loudly."""

import os
import re
from functools import cache

import pytest
from laboratory.invariants import Left, Scenario, baseline, resumed, run_of

from evomerge.domain.errors import DamagedError
from evomerge.domain.state import fold
from evomerge.store import journal as module
from evomerge.store.journal import read_journal


@pytest.fixture(scope="module")
def whole(drivers, tmp_path_factory):
    """The folder of a finished run and its digest."""
    root = tmp_path_factory.mktemp("journal") / "whole"
    return root, baseline(drivers, root)


@pytest.fixture(scope="module")
def data(whole):
    return run_of(whole[0]).journal.read_bytes()


@pytest.fixture
def quick(monkeypatch):
    """Remember parsed lines: tens of thousands of readings differ in one line each."""
    parse = module._parse
    remembered = cache(lambda number, line: parse(None, number, line))

    def parse_once(path, number, line):
        try:
            return remembered(number, line)
        except DamagedError:
            return parse(path, number, line)

    monkeypatch.setattr(module, "_parse", parse_once)


def test_truncated_at_every_byte_it_reads_or_refuses(data, quick, tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(data)
    whole = read_journal(path).entries
    ends = [match.end() for match in re.finditer(rb"\n", data)]
    states = {}
    for length in range(len(data) - 1, -1, -1):
        os.truncate(path, length)
        count = sum(end <= length for end in ends)
        if count == 0:
            with pytest.raises(DamagedError, match="has no complete line"):
                read_journal(path)
            continue
        content = read_journal(path)
        assert content.entries == whole[:count]
        assert (content.length, content.torn) == (ends[count - 1], length - ends[count - 1])
        if count not in states:
            states[count] = fold(content.entries)
    assert len(states) == len(whole) - 1


def test_truncated_anywhere_it_resumes_to_the_same_end(whole, data, drivers, tmp_path):
    """The store is empty: what is recorded is not measured again, only weights are made again."""
    scenario = Scenario(digest=whole[1])
    first = data.index(b"\n") + 1
    for number, length in enumerate(range(first, len(data), len(data) // 9)):
        root = tmp_path / str(number)
        run_of(root).path.mkdir(parents=True)
        run_of(root).journal.write_bytes(data[:length])
        before = Left(data[: data.rindex(b"\n", 0, length) + 1])
        faults = resumed(scenario, drivers, root, before)
        # What the lost store held of recorded models is not made again unless it is needed.
        assert [fault for fault in faults if not fault.startswith("missing: ")] == []


def test_a_run_without_its_first_line_is_not_started_again(data, drivers, tmp_path):
    for length in (0, 1, data.index(b"\n")):
        root = tmp_path / str(length)
        run_of(root).path.mkdir(parents=True)
        run_of(root).journal.write_bytes(data[:length])
        outcome = drivers.resume(root)
        assert outcome.code == 3
        assert "has no complete line" in outcome.errors
        assert run_of(root).journal.read_bytes() == data[:length]


def test_a_flipped_bit_anywhere_is_named_with_its_line(data, quick, tmp_path):
    """In every third byte of the journal, and in every one of the line ends."""
    path = tmp_path / "journal.jsonl"
    last = len(data) - 1  # without its last newline the last line is a torn one
    line = 1
    for position in range(last):
        end = data[position] == ord("\n")
        if not end and position % 3:
            continue
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedError, match=rf"journal\.jsonl:{line}: "):
            read_journal(path)
        line += end
