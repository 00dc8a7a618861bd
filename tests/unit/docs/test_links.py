"""Every link of the documentation leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "configs/RAY.md",
    "configs/README.md",
    "configs/REFERENCE.md",
    "evomerge/ARCHITECTURE.md",
    "evomerge/README.md",
    "evomerge/kinship/README.md",
    "evomerge/merge_rules/README.md",
    "evomerge/significance/README.md",
    "evomerge/strategies/README.md",
    "evomerge/ui/README.md",
    "runs/README.md",
    "scripts/bench/arena/RESULTS.md",
    "scripts/bench/arena/peers/README.md",
    "scripts/bench/real_model/RESULTS.md",
]
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The headings' anchors, as GitHub makes them."""
    titles = re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return {
        name if (before := plain[:at].count(name)) == 0 else f"{name}-{before}"
        for at, name in enumerate(plain)
    }


def broken(link: str, page: Path) -> str | None:
    """Why a link of a page leads nowhere; external ones are judged by their form alone."""
    parts = urlsplit(link)
    if parts.scheme:
        whole = parts.scheme == "https" and "." in parts.netloc
        return None if whole else "no https address"
    target = (page.parent / parts.path).resolve() if parts.path else page
    if not target.is_relative_to(ROOT):
        return "outside the repository"
    if not target.exists():
        return "no such file"
    if parts.fragment and parts.fragment not in anchors(target):
        return "no such heading"
    return None


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    found = {link: broken(link, page) for link in _LINK.findall(prose(page))}
    assert not {link: why for link, why in found.items() if why}


def test_a_broken_link_is_seen():
    page = ROOT / "README.md"
    assert broken("configs/none.yaml", page) == "no such file"
    assert broken("#no-such-heading", page) == "no such heading"
    assert broken("configs/REFERENCE.md#no-such-heading", page) == "no such heading"
    assert broken("../elsewhere.md", page) == "outside the repository"
    assert broken("http:/example", page) == "no https address"
    assert broken("#the-paper", page) is None


def test_pages_are_all_there_are():
    """A new page must be listed above, or its links are not looked at."""
    there = {
        str(path.relative_to(ROOT))
        for folder in ("configs", "evomerge", "scripts", "tests")
        for path in (ROOT / folder).rglob("*.md")
    }
    assert there <= set(PAGES)
