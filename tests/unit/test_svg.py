"""What stays of an SVG: the drawing. What could act, load or multiply does not."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import CatalogError, LimitExceeded, SourceMalformed
from worker.svg import ATTRIBUTES, ELEMENTS, MOST_LEVELS, MOST_SVG, SVG, XLINK, is_safe, sanitised

HEAD = f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}" xmlns:evil="urn:evil" '


def inside(drawing: str) -> str:
    """What stays of a drawing inside an SVG."""
    kept = sanitised(f"{HEAD}>{drawing}</svg>".encode()).decode()
    assert kept.startswith("<svg ")
    return kept.partition(">")[2].removesuffix("</svg>")


DRAWN = [
    '<path d="M0 0L9 9z" fill="#fff"></path>',
    '<g id="a" transform="matrix(1 0 0 1 2 3) rotate(45)"><circle cx="1" cy="2" r="3"></circle></g>',
    '<defs><linearGradient id="p"><stop offset="0" stop-color="rgb(1,2,3)"></stop></linearGradient></defs>',
    """<rect fill="url(#p)" clip-path='url("#c")' style="mask: url('#m'); opacity: .5"></rect>""",
    '<style type="text/css">.a &gt; .b { fill: url(#p) } @media (prefers-color-scheme: dark) { .a { fill: #fff } }</style>',
    '<text x="1" xml:space="preserve">A &amp; B <tspan>C</tspan></text>',
    '<mask id="m"><use href="#p"></use></mask><use xlink:href="#m2"></use>',
    '<image href="data:image/png;base64,AAAA"></image>',
    '<filter id="f"><feGaussianBlur stdDeviation="2"></feGaussianBlur></filter>',
]


@pytest.mark.parametrize("drawing", DRAWN)
def test_a_drawing_stays_as_it_is(drawing: str) -> None:
    assert inside(drawing) == drawing


@pytest.mark.parametrize(
    ("drawing", "kept"),
    [
        ("<script>evil()</script><g></g>", "<g></g>"),
        ('<script href="https://evil/x.js"/>', ""),
        ("<g><script><path/></script></g>", "<g></g>"),
        ('<g onload="evil()" onclick="evil()"></g>', "<g></g>"),
        ('<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><b>evil</b></body></foreignObject>', ""),
        ('<switch><foreignObject/><g id="a"></g></switch>', '<switch><g id="a"></g></switch>'),
        ('<a href="javascript:evil()"><g></g></a>', "<a><g></g></a>"),
        ('<a xlink:href="https://evil/"><g></g></a>', "<a><g></g></a>"),
        ('<use href="https://evil/x.svg#a"></use>', "<use></use>"),
        ('<use href="//evil/x.svg#a"></use>', "<use></use>"),
        ('<image href="https://evil/x.png"></image>', "<image></image>"),
        ('<image href=" data:image/svg+xml;base64,AAAA"></image>', "<image></image>"),
        ('<image href="data:image/svg+xml,%3Csvg/%3E"></image>', "<image></image>"),
        ('<image href="data:text/html,evil"></image>', "<image></image>"),
        ('<set attributeName="href" to="javascript:evil()"/><animate attributeName="x"/>', ""),
        ('<feImage href="https://evil/x.png"/>', ""),
        ('<rect fill="url(https://evil/#a)"></rect>', "<rect></rect>"),
        ("<rect fill=\"URL( '//evil/#a' )\"></rect>", "<rect></rect>"),
        ('<rect fill="u\\72l(https://evil/)"></rect>', "<rect></rect>"),
        ("<rect style=\"fill: image-set('https://evil/' 1x)\"></rect>", "<rect></rect>"),
        ('<rect style="fill: uurl(#a)rl(https://evil/)"></rect>', "<rect></rect>"),
        ("<style>@import 'https://evil/x.css';</style>", "<style></style>"),
        ("<style>@font-face { src: url(https://evil/) }</style>", "<style></style>"),
        ("<style>g { fill: url<!-- -->(https://evil/) }</style>", "<style></style>"),
        ("<style>g { fill: url<![CDATA[(https://evil/)]]> }</style>", "<style></style>"),
        ("<style>g { fill: u<g>evil</g>rl(https://evil/) }</style>", "<style></style>"),
        ('<evil:path d="evil"/><path evil:d="evil" d="M0"></path>', '<path d="M0"></path>'),
        ('<path xml:base="https://evil/" data-evil="1" d="M0"></path>', '<path d="M0"></path>'),
        ("<metadata>evil</metadata><!-- evil --><?xml-stylesheet href='https://evil/'?>evil", ""),
        ('<g id="&quot;&gt;&lt;script&gt;"></g>', "<g id='\"&gt;&lt;script&gt;'></g>"),
    ],
)
def test_what_acts_or_loads_is_left_out(drawing: str, kept: str) -> None:
    assert inside(drawing) == kept


def test_the_first_element_keeps_its_size_and_loses_its_handlers() -> None:
    kept = sanitised(b'<?xml version="1.0"?>\n<svg width="10" viewBox="0 0 10 10" onload="evil()"><g/></svg>').decode()
    assert kept == f'<svg width="10" viewBox="0 0 10 10" xmlns="{SVG}" xmlns:xlink="{XLINK}"><g></g></svg>'


def test_an_svg_in_another_encoding_is_written_in_utf_8() -> None:
    text = f'<?xml version="1.0" encoding="iso-8859-1"?>{HEAD}><title>Größe</title></svg>'
    assert "<title>Größe</title>" in sanitised(text.encode("iso-8859-1")).decode()


def test_a_document_type_is_passed_over_unless_it_declares_entities() -> None:
    public = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    assert "DOCTYPE" not in sanitised(f"{public}{HEAD}></svg>".encode()).decode()
    laughs = '<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    with pytest.raises(SourceMalformed, match="entities"):
        sanitised(f"{laughs}{HEAD}><title>&b;</title></svg>".encode())
    file = '<!DOCTYPE svg [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    with pytest.raises(SourceMalformed, match="entities"):
        sanitised(f"{file}{HEAD}><title>&f;</title></svg>".encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html><body>not found</body></html>", "its first element is 'html'"),
        (b"<svg", "not well-formed"),
        (b"<svg><g></svg>", "mismatched tag"),
        (b"<svg>&nope;</svg>", "undefined entity"),
        (b'<svg xmlns="urn:other"/>', "its first element is 'svg'"),
    ],
)
def test_what_is_no_svg_says_so(data: bytes, said: str) -> None:
    with pytest.raises(SourceMalformed, match=said):
        sanitised(data)


def test_depth_size_and_multiplication_have_limits() -> None:
    assert inside("<g>" * (MOST_LEVELS - 1) + "</g>" * (MOST_LEVELS - 1))
    with pytest.raises(LimitExceeded, match="levels"):
        inside("<g>" * MOST_LEVELS + "</g>" * MOST_LEVELS)
    with pytest.raises(LimitExceeded, match="larger"):
        inside(f'<path d="{"M0 0" * (MOST_SVG // 4)}"/>')
    with pytest.raises(LimitExceeded, match="by reference"):
        inside('<g id="a"><use href="#b"/><use href="#b"/></g><g id="b"><path/></g><use href="#a"/>')


def test_values_that_take_long_to_judge_do_not() -> None:
    assert is_safe("a" * 1_000_000)
    assert is_safe("url(#" * 10_000) is False


NAMES = st.sampled_from([*sorted(ELEMENTS)[:8], "svg", "style", "use", "script", "foreignObject", "animate", "evil:g"])
KEYS = st.sampled_from(["id", "fill", "style", "href", "xlink:href", "onload", "evil:x", "xml:base", "d"])
VALUES = st.one_of(
    st.sampled_from(["#a", "url(#a)", "url(http://evil/)", "javascript:evil()", "data:image/png;base64,AA", "data:text/html,x"]),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
)
TEXTS = st.sampled_from(["", "plain", "@import 'x';", ".a { fill: red }", "url(", "http://evil/)"])


def element(name: str, attributes: dict[str, str], children: list[str]) -> str:
    quoted = {key: value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") for key, value in attributes.items()}
    written = "".join(f' {key}="{value}"' for key, value in quoted.items())
    return f"<{name}{written}>{''.join(children)}</{name}>"


DRAWINGS = st.recursive(
    TEXTS, lambda inner: st.builds(element, NAMES, st.dictionaries(KEYS, VALUES, max_size=4), st.lists(inner, max_size=4)), max_leaves=12
)


@given(DRAWINGS)
def test_of_any_drawing_only_the_allowed_stays_and_stays_again(drawing: str) -> None:
    try:
        kept = sanitised(f"{HEAD}>{drawing}</svg>".encode())
    except CatalogError:
        return
    for each in ElementTree.fromstring(kept).iter():
        assert each.tag.removeprefix(f"{{{SVG}}}") in ELEMENTS
        for key, value in each.attrib.items():
            assert key in ATTRIBUTES or key == f"{{{XLINK}}}href"
            assert key.endswith("href") or is_safe(value)
            assert not key.endswith("href") or value.startswith(("#", "data:image/png"))
        assert not each.tag.endswith("style") or is_safe(each.text or "")
    assert sanitised(kept) == kept
