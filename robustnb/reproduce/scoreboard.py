"""The cover's and the scoreboard's blocks, and README's table, all drawn from the ledger."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustnb.errors import UsageError, unknown
from robustnb.reproduce import entries, finding, formatting, parts
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


def badge(ledger: Json, _page: Page, name: str) -> str:
    """A claim's verdict, as a link to the box that explains it."""
    found = entries.claim(ledger, name)
    return f"[{formatting.badge(found)}](#{entries.label(name)})"


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
        f"- {entries.link(name, f'{paper} {entries.short(name)}')}: {claim['statement']}"
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
    counts = paper["totals"]["overall"]
    told = f"{counts['holds']} of {counts['n']} claims hold"
    told += f"<br>{counts['words'][REPAIRED]} {REPAIRED}" if counts["words"].get(REPAIRED) else ""
    return (
        f":::{{grid-item-card}} {paper['title']}\n:link: papers/{name}\n:link-type: doc\n"
        f":class-card: rnb-card\n\n{_picture(page.root, name, listed)}\n\n"
        f"{nickname(paper)}. {listed.line}\n\n{_foot(told)}\n:::"
    )


def _foot(text: str) -> str:
    return f'<p class="rnb-card-foot">{text}</p>'


def _picture(root: Path, paper: str, listed: parts.Listed) -> str:
    """A card's picture with the text of its figure; empty where the paper has no kept page."""
    alt = kept_figures(root, paper).get(f"figure-{listed.figure}.png")
    if alt is None:
        return ""
    address = f"../_static/cards/{paper}.png"
    return f'<img class="rnb-card-picture dark-light" src="{address}" alt="{html.escape(alt)}">'


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
    """One row a claim: what the paper says, what came out here in a sentence, and the verdict."""
    from robustnb.reproduce.render import substitute

    rows = [
        [
            entries.link(name, f"{paper} {entries.short(name)}"),
            claim["statement"],
            finding.sentence(name, claim),
            formatting.stacked(formatting.badge(claim), claim["profile"] or ""),
        ]
        for paper, found in parts.ordered(ledger["papers"], page.root).items()
        for name, claim in found["claims"].items()
    ]
    table = formatting.table(["claim", "what the paper says", "what came out", "verdict"], rows)
    return substitute(table, ledger, page=page)


_HERO = {"standard": "standard network", "trades": "robust network (TRADES)"}


def hero(_ledger: Json, page: Page) -> str:
    """The picture of the first screen: one digit, two networks, each attacked by our PGD."""
    path = page.root / "book" / "_static" / "hero.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.name} is not there; `make hero` writes it") from None
    rows = "".join(_hero_row(name, told, told["networks"][name]) for name in _HERO)
    head = (
        '<div class="rnb-hero-row rnb-hero-head"><span>a test image</span>'
        f"<span>+ a change of at most {told['eps']:g} in each pixel</span>"
        "<span>= what the network is shown</span></div>"
    )
    return (
        f'<figure class="rnb-hero"><div>{head}{rows}</div>'
        f"<figcaption><p>{_hero_caption(told)}</p>"
        '<p><a href="papers/zhang2019.html">How the robust network was trained, and what '
        "robustness costs</a></p></figcaption></figure>"
    )


def _hero_caption(told: Json) -> str:
    plain, robust = (told["networks"][name] for name in _HERO)
    rates = [f"{100 * found[k]:.1f} %" for found in (plain, robust) for k in ("natural", "robust")]
    return (
        f"The first test image, a handwritten {told['label']}. Both networks have the same layers "
        f"and were trained on the same {told['train_size']:,} digits. Each is attacked by PGD with "
        f"{told['steps']} steps. The change is orange where a pixel gets brighter and blue where "
        f"it gets darker, at full strength for {told['eps']:g}.</p><p>Of {told['test_size']} test "
        f"digits, the standard network reads {rates[0]} correctly as they are and {rates[1]} under "
        f"attack. The robust network reads {rates[2]} and {rates[3]}."
    )


def _hero_row(name: str, told: Json, found: Json) -> str:
    before, after = found["clean"], found["attacked"]
    alt = (
        f"A handwritten {told['label']}, the change that the attack finds against the "
        f"{_HERO[name]}, and their sum, which it takes for a {after['answer']}."
    )
    title = f"{_HERO[name][0].upper()}{_HERO[name][1:]}"
    return (
        f'<a class="rnb-hero-name" href="papers/zhang2019.html">{title}</a>'
        f'<img class="dark-light" src="../_static/hero-{name}.png" alt="{html.escape(alt)}">'
        f'<div class="rnb-hero-row">{_reads(before, told["label"])}<span></span>'
        f"{_reads(after, told['label'])}</div>"
    )


def _reads(found: Json, label: int) -> str:
    mark = "right" if found["answer"] == label else "wrong"
    return (
        f'<span class="rnb-hero-{mark}">reads <strong>{found["answer"]}</strong>, {mark}<br>'
        f"{100 * found['probability']:.1f}&nbsp;% sure</span>"
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
