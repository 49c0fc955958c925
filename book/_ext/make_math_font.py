"""Write `book/_static/math_font.css`, the one font of the book's formulas.

    pip install brotli ziamath        # ziamath carries STIXTwoMath-Regular.ttf
    python book/_ext/make_math_font.py path/to/STIXTwoMath-Regular.ttf

STIX Two Math is cut down to the characters of the book's mathematics, with their larger forms, but
without the forms for indices ("ssty"): half of the bytes, which Chromium never draws. Of
the fonts tried (Latin Modern, three of TeX Gyre) it suits the text best and has the best primes.
Its taller root signs are drawn as narrow as the lowest one: Chromium makes every root as wide as
the widest of them, so that the original leaves a hole behind each small root.

The font stands inside the style sheet: formulas are right in the first picture of a page, and
browsers that refuse a font beside a page opened from disk have it too.
"""

from __future__ import annotations

import base64
import io
import sys
from itertools import pairwise
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

TARGET = Path(__file__).parents[1] / "_static" / "math_font.css"
ROOT_SIGN = 0x221A
FEATURES = ("dtls", "flac", "ss01", "ss04")
BLOCKS = (
    (0x20, 0x7E), (0xA0, 0xFF), (0x131, 0x131), (0x237, 0x237), (0x2C6, 0x2DD), (0x300, 0x338),
    (0x391, 0x3A9), (0x3B1, 0x3C9), (0x3D1, 0x3D6), (0x3F0, 0x3F5), (0x2000, 0x2064),
    (0x20D6, 0x20D7), (0x2102, 0x213E), (0x2145, 0x2149), (0x2190, 0x2199), (0x21A0, 0x21AE),
    (0x21BC, 0x21CC), (0x21D0, 0x21D5), (0x21DD, 0x21DD), (0x2200, 0x222D), (0x2234, 0x226F),
    (0x2270, 0x228B), (0x228E, 0x22A5), (0x22A8, 0x22A8), (0x22C0, 0x22C6), (0x22D6, 0x22DB),
    (0x22EE, 0x22F1), (0x2308, 0x230B), (0x23DE, 0x23DF), (0x25A0, 0x25A1), (0x25B3, 0x25B3),
    (0x25CB, 0x25CB), (0x25FB, 0x25FC), (0x2605, 0x2606), (0x27C2, 0x27C2), (0x27E8, 0x27E9),
    (0x27F5, 0x27FC), (0x2A00, 0x2A04), (0x2A7D, 0x2A7E), (0x2AAF, 0x2AB0), (0x1D400, 0x1D467),
    (0x1D49C, 0x1D4B5), (0x1D504, 0x1D51C), (0x1D538, 0x1D550), (0x1D6A4, 0x1D71B),
    (0x1D7CE, 0x1D7E1),
)  # fmt: skip
SHEET = """\
/* Written by book/_ext/make_math_font.py. STIX Two Math, copyright 2001-2020 The STIX Fonts Project
   Authors, SIL Open Font License 1.1 (math_font.LICENSE); cut down, and root signs narrowed. */
@font-face {{
  font-family: "robustnb math";
  unicode-range: {ranges};
  src: url("data:font/woff2;base64,{data}") format("woff2");
}}
"""


def narrow_roots(font: TTFont) -> None:
    """Scale the larger root signs sideways to the width of the smallest."""
    variants = font["MATH"].table.MathVariants
    root = font.getBestCmap()[ROOT_SIGN]
    forms = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(root)]
    larger = {record.VariantGlyph for record in forms.MathGlyphVariantRecord} - {root}
    larger |= {part.glyph for part in forms.GlyphAssembly.PartRecords}
    width = font["hmtx"][root][0]
    for name in larger:
        advance, bearing = font["hmtx"][name]
        outline = font["glyf"][name]
        outline.coordinates.scale((width / advance, 1.0))
        outline.coordinates.toInt()
        outline.recalcBounds(font["glyf"])
        font["hmtx"][name] = (width, round(bearing * width / advance))


def ranges(codes: list[int]) -> str:
    """Sorted `codes` as a style sheet writes them."""
    starts = [codes[0], *(b for a, b in pairwise(codes) if b != a + 1)]
    ends = [*(a for a, b in pairwise(codes) if b != a + 1), codes[-1]]
    return ", ".join(f"U+{a:x}-{b:x}" for a, b in zip(starts, ends, strict=True))


def sheet(source: Path) -> str:
    """A style sheet with the part of `source` that the book needs."""
    options = subset.Options()
    options.flavor = "woff2"
    options.layout_features = list(FEATURES)
    options.hinting = False
    options.name_IDs = ["*"]  # copyright and licence stay inside
    font = subset.load_font(str(source), options)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=[code for a, b in BLOCKS for code in range(a, b + 1)])
    chosen.subset(font)
    narrow_roots(font)
    covered = ranges(sorted(font.getBestCmap()))
    file = io.BytesIO()
    subset.save_font(font, file, options)
    return SHEET.format(ranges=covered, data=base64.b64encode(file.getvalue()).decode())


if __name__ == "__main__":
    TARGET.write_text(sheet(Path(sys.argv[1])), encoding="ascii")
