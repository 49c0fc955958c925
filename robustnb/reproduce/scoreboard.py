"""The cover's and the scoreboard's blocks, and README's table, all drawn from the ledger."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce import formatting, parts
from robustnb.reproduce.words import REPAIRED

if TYPE_CHECKING:
    from robustnb.reproduce.render import Page

Json = Mapping[str, Any]
_README = re.compile(r"(<!-- verdicts:[^>]*-->\n).*?(<!-- end of verdicts -->)", re.DOTALL)
_COLUMNS = {
    "holds": "hold",
    "partly": "hold in part",
    "against": "against",
    "inconclusive": "inconclusive",
    "open": "open",
    "unjudged": "not judged",
}


def label(claim: str) -> str:
    """The name by which pages refer to a claim's verdict: `zhang2019-c6`."""
    return claim.replace(".", "-").lower()


def short(claim: str) -> str:
    """A claim's name within its paper: `C6`."""
    return claim.rpartition(".")[2]


def find_claim(ledger: Json, name: str) -> Json:
    """A claim of the ledger by its full name; UsageError for one that is not there."""
    paper = ledger["papers"].get(name.partition(".")[0], {"claims": {}})
    if name not in paper["claims"]:
        raise unknown("claim", name, [c for p in ledger["papers"].values() for c in p["claims"]])
    found: Json = paper["claims"][name]
    return found


def badge(ledger: Json, _page: Page, name: str) -> str:
    """A claim's verdict, as a link to the box that explains it."""
    found = find_claim(ledger, name)
    return f'[{formatting.badge(found)}](#{label(name)})'


def totals(ledger: Json, _page: Page) -> str:
    """One sentence: of n claims, how many hold and what became of the others."""
    return formatting.tally(ledger["totals"]["overall"])


def tiles(ledger: Json, _page: Page) -> str:
    """How many claims are in each group, in large figures; groups without a claim are left out."""
    counts = ledger["totals"]["overall"]
    shown = "".join(
        f'<div class="rnb-tile rnb-{group}"><strong>{counts[group]}</strong> {word}</div>'
        for group, word in _COLUMNS.items()
        if counts[group]
    )
    return f'<div class="rnb-tiles">{shown}</div>'


def findings(ledger: Json, page: Page) -> str:
    """What this book found, a few sentences a paper."""
    from robustnb.reproduce.render import substitute

    told = [
        f"- [{nickname(ledger['papers'][name])}](papers/{name}.ipynb): {listed.finding}"
        for name, listed in parts.papers(page.root).items()
        if listed.finding and name in ledger["papers"]
    ]
    return substitute("\n".join(told), ledger, page=page)


def repaired(ledger: Json, page: Page) -> str:
    """The claims that are false as their paper prints them."""
    wrong = [
        f"- {{ref}}`{paper} {short(name)} <{label(name)}>`: {claim['statement']}"
        for paper, found in parts.ordered(ledger["papers"], page.root).items()
        for name, claim in found["claims"].items()
        if claim["label"] == REPAIRED
    ]
    return "\n".join(wrong) or "No claim so far."


def cards(ledger: Json, page: Page, part: str = "") -> str:
    """A card for each paper of the book, or of a part: picture, finding and counts."""
    found = parts.load(page.root)
    if part and part not in found:
        raise unknown("part of the book", part, found)
    blocks = []
    for name in [part] if part else found:
        listed = [_card(ledger, page, *item) for item in found[name].papers.items()]
        if not part:
            blocks.append(f"### [{found[name].title}](part-{name}.md)\n\n{found[name].line}")
        blocks.append("::::{grid} 1 1 2 3\n:gutter: 3\n\n" + "\n\n".join(listed) + "\n::::")
    return "\n\n".join(blocks)


def _card(ledger: Json, page: Page, name: str, listed: parts.Listed) -> str:
    if name not in ledger["papers"]:
        return (
            f":::{{grid-item-card}} {listed.title}\n:class-card: rnb-card rnb-to-come\n\n"
            f"{{cite:t}}`{name}`. {listed.line}\n\n{_foot('to come')}\n:::"
        )
    paper = ledger["papers"][name]
    picture = f'<img class="rnb-card-picture" src="../_static/cards/{name}.png" alt="{alt}">' if (
        alt := picture_text(page.root, name, listed)
    ) else ""
    counts = paper["totals"]["overall"]
    told = f"{counts['holds']} of {counts['n']} claims hold"
    told += f"<br>{counts['words'][REPAIRED]} {REPAIRED}" if counts["words"].get(REPAIRED) else ""
    return (
        f":::{{grid-item-card}} {paper['title']}\n:link: papers/{name}\n:link-type: doc\n"
        f":class-card: rnb-card\n\n{picture}\n\n{nickname(paper)}. {listed.line}\n\n{_foot(told)}\n:::"
    )


def _foot(text: str) -> str:
    return f'<p class="rnb-card-foot">{text}</p>'


def picture_text(root: Path, paper: str, listed: parts.Listed) -> str:
    """The alternative text of a card's picture, from the kept page; empty where it has none."""
    return kept_figures(root, paper).get(f"figure-{listed.figure}.png", "")


def kept_figures(root: Path, paper: str) -> dict[str, str]:
    """Each figure file of the page that is kept with the laptop record, and its text."""
    path = root / "book" / "records" / "laptop" / paper / "page" / "outputs.json"
    if not path.is_file():
        return {}
    found = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell["outputs"]:
            told = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            for kind, image in output.get("data", {}).items():
                if kind.endswith("image/png"):  # shown, or kept by `glue` for later
                    found[image["file"]] = told or f"A figure of the page {paper}."
    return found


def nickname(paper: Json) -> str:
    """How prose names a paper: `Zhang et al. 2019`."""
    first, *others = (author.rpartition(" ")[2] for author in paper["authors"])
    more = "" if not others else f" and {others[0]}" if len(others) == 1 else " et al."
    return f"{first}{more} {paper['year']}"


def board(ledger: Json, page: Page) -> str:
    """One row a claim: what the paper says, what came out here, and the verdict."""
    rows = [
        [
            f"{{ref}}`{paper} {short(name)} <{label(name)}>`",
            claim["statement"],
            _result(claim),
            formatting.stacked(formatting.badge(claim), claim["profile"] or ""),
        ]
        for paper, found in parts.ordered(ledger["papers"], page.root).items()
        for name, claim in found["claims"].items()
    ]
    return formatting.table(["claim", "what the paper says", "measured here", "verdict"], rows)


def _result(claim: Json) -> str:
    """The estimate of the part that decides a measured claim, with what it is and its interval."""
    part = claim["parts"][claim["part"]] if claim["part"] else None
    if part is None or claim["theorem"]:
        return ""
    found = part["profiles"][formatting.shown_profile(part)]
    if found["estimate"] is None:
        return ""
    value = f"{formatting.ours(part, found)} {formatting.bounds(part, found['interval'])}"
    return formatting.stacked(value.strip(), part["title"])


def hero(_ledger: Json, page: Page) -> str:
    """The picture of the first screen: one digit, two networks, each attacked by our PGD."""
    path = page.root / "book" / "_static" / "hero.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.name} is not there; `make hero` writes it") from None
    rows = "".join(_hero_row(name, told, told["networks"][name]) for name in told["networks"])
    head = (
        '<div class="rnb-hero-row rnb-hero-head"><span>a test image</span>'
        f"<span>+ a change of at most {told['eps']:g} in each pixel</span>"
        "<span>= what the network is shown</span></div>"
    )
    caption = (
        f"The first test image, a handwritten {told['label']}. Both networks have the same layers "
        f"and were trained on the same {told['train_size']:,} digits. Each is attacked by PGD with "
        f"{told['steps']} steps; the change is orange where a pixel gets brighter and blue where it "
        f"gets darker, at full strength for {told['eps']:g}. "
        + " ".join(
            f"Of {told['test_size']} test digits, the {_HERO[name]} reads "
            f"{100 * found['natural']:.1f} % correctly as they are, and "
            f"{100 * found['robust']:.1f} % under attack."
            for name, found in told["networks"].items()
        )
    )
    link = '<a href="papers/zhang2019.html">How the second one was trained, and what it costs</a>'
    return (
        f'<figure class="rnb-hero"><div>{head}{rows}</div>'
        f"<figcaption>{caption} {link}.</figcaption></figure>"
    )


_HERO = {"standard": "standard network", "trades": "robust network (TRADES)"}


def _hero_row(name: str, told: Json, found: Json) -> str:
    before, after = found["clean"], found["attacked"]
    wrong = after["answer"] != told["label"]
    alt = (
        f"A handwritten {told['label']}, the change that the attack finds against the "
        f"{_HERO[name]}, and their sum, which it takes for a {after['answer']}."
    )
    mark = "wrong" if wrong else "right"
    answer = (
        f'<strong class="rnb-hero-{mark}">{after["answer"]}</strong> '
        f"({100 * after['probability']:.0f} %), {mark}"
    )
    return (
        f'<a class="rnb-hero-name" href="papers/zhang2019.html">{_HERO[name][0].upper()}{_HERO[name][1:]}</a>'
        f'<img src="../_static/hero-{name}.png" alt="{html.escape(alt)}">'
        f'<div class="rnb-hero-row"><span>reads <strong>{before["answer"]}</strong> '
        f"({100 * before['probability']:.0f} %)</span><span></span><span>reads {answer}</span></div>"
    )


def readme(text: str, ledger: Json, *, order: Sequence[str] = ()) -> str:
    """README with its table drawn anew, a row a paper; UsageError if the place is not marked.

    The papers stand as `order` names them, by default as in the ledger.
    """
    if not _README.search(text):
        raise UsageError("README.md has lost its `<!-- verdicts: ... -->` marks; put them back")
    papers = {name: ledger["papers"][name] for name in order or ledger["papers"]}
    rows = [
        [
            f"[{paper['title']}](notebooks/{name}.md), {paper['year']}",
            f"{paper['totals']['overall']['holds']} of {paper['totals']['overall']['n']}",
            _found(ledger, paper["totals"]["overall"]["words"]),
        ]
        for name, paper in papers.items()
    ]
    table = formatting.table(["paper", "claims that hold", "what came out"], rows)
    tally = formatting.tally(ledger["totals"]["overall"])
    return _README.sub(lambda m: f"{m.group(1)}{tally}\n\n{table}\n{m.group(2)}", text)


def _found(ledger: Json, counted: Mapping[str, int]) -> str:
    """Verdict words with their counts, those of claims that hold first, the strongest leading."""
    groups = list(_COLUMNS)
    words = sorted(reversed(list(counted)), key=lambda word: groups.index(ledger["words"][word]))
    return "; ".join(f"{counted[word]} {word}" for word in words)
