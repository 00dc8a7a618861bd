"""The journal: what was appended is read back, a torn tail is cut, damage is refused."""

import os

import pytest

from evomerge.domain.errors import DamagedError, StoppedError
from evomerge.domain.events import RunResumed
from evomerge.domain.state import Entry, fold
from evomerge.store import journal as module
from evomerge.store.journal import Journal, line_of, read_journal
from evomerge.testing.landscape_run import landscape_config, run_landscape


@pytest.fixture(scope="module")
def journal_bytes(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    run_landscape(root, landscape_config(stopping=[{"max_generations": 1}]))
    return (root / "runs/landscape/journal.jsonl").read_bytes()


@pytest.fixture
def path(tmp_path, journal_bytes):
    place = tmp_path / "journal.jsonl"
    place.write_bytes(journal_bytes)
    return place


def opened(path):
    return Journal(path, read_journal(path))


def test_what_was_appended_is_read_back(path):
    before = read_journal(path).entries
    entry = Entry(at=1.5, event=RunResumed(versions={"a": "ü"}))
    with opened(path) as journal:
        journal.append(entry)
        journal.append(entry)
    assert read_journal(path).entries == (*before, entry, entry)


def test_truncated_anywhere_it_is_appended_to_or_refused(path, journal_bytes):
    """That it is read at every byte is in tests/crash/test_journal.py."""
    whole = read_journal(path).entries
    ends = [i + 1 for i, byte in enumerate(journal_bytes) if byte == ord("\n")]
    for length in range(0, len(journal_bytes), 41):
        path.write_bytes(journal_bytes[:length])
        complete = sum(end <= length for end in ends)
        if not complete:
            with pytest.raises(DamagedError, match="no complete line"):
                opened(path)
            continue
        with opened(path) as journal:
            assert read_journal(path).entries == whole[:complete]
            assert path.stat().st_size == ends[complete - 1], "the torn tail is cut"
            journal.append(Entry(at=1, event=RunResumed()))
        fold(read_journal(path).entries)


def test_a_flipped_bit_is_named_with_its_line(path, journal_bytes):
    lines = journal_bytes.split(b"\n")
    for number in range(len(lines) - 1):
        for position in range(0, len(lines[number]), 97):
            damaged = bytearray(lines[number])
            damaged[position] ^= 1
            path.write_bytes(b"\n".join([*lines[:number], bytes(damaged), *lines[number + 1 :]]))
            with pytest.raises(DamagedError) as caught:
                read_journal(path)
            # A flip can make a newline, which splits the line in two.
            assert f"journal.jsonl:{number + 1}:" in str(caught.value)


def test_a_lost_line_and_swapped_lines_are_damage(path, journal_bytes):
    lines = journal_bytes.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    with pytest.raises(DamagedError, match=r":3: .*entry 3, expected 2"):
        read_journal(path)


def test_a_newer_journal_is_refused_with_a_sentence(path, monkeypatch):
    monkeypatch.setattr(module, "SCHEMA", 2)
    line = line_of(len(read_journal(path).entries), Entry(at=1, event=RunResumed()))
    monkeypatch.undo()
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(DamagedError, match="newer evomerge"):
        read_journal(path)


def test_a_failed_fsync_is_never_retried(path, monkeypatch):
    with opened(path) as journal:
        calls = []

        def failing(descriptor):
            calls.append(descriptor)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(StoppedError, match="input/output error"):
            journal.append(Entry(at=1, event=RunResumed()))
        monkeypatch.undo()
        with pytest.raises(StoppedError, match="nothing more is recorded"):
            journal.append(Entry(at=1, event=RunResumed()))
        assert len(calls) == 1


def test_an_empty_journal_is_not_a_new_run(path):
    path.write_bytes(b"")
    with pytest.raises(DamagedError):
        read_journal(path)
