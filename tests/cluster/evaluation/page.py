"""Parse an HTML page of `reranker evaluate`: its tables and pictures, and its markup errors."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "link", "img"}


class Picture:
    """One inline SVG: its source, its text labels, and the CSS variables it is drawn with."""

    def __init__(self, source: str, texts: list[str]) -> None:
        self.source, self.texts = source, texts
        self.colours = re.findall(r"var\((--[\w-]+)\)", source)


class Page(HTMLParser):
    """tables: rows of cells, the heading row first. problems: tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.problems: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.legend: list[str] = []
        self.headings: list[str] = []
        self.pictures: list[Picture] = []
        self._open: list[str] = []
        self._text: dict[str, str] = {}
        self._labels: list[list[str]] = []  # per picture
        assert self.source.startswith("<!doctype html>")
        self.feed(self.source)
        self.close()
        self.problems += [f"{name} is never closed" for name in self._open]
        pictures = re.findall(r"<svg .*?</svg>", self.source, re.DOTALL)
        self.pictures = [Picture(source, texts) for source, texts in zip(pictures, self._labels, strict=True)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag in VOID:
            self.handle_data(" ")
            return
        self._open.append(tag)
        self._text[tag] = ""
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag == "svg":
            self._labels.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes another element")
        text = " ".join(self._text.get(tag, "").split())
        if tag in ("td", "th"):
            self.tables[-1][-1].append(text)
        elif tag == "text":
            self._labels[-1].append(text)
        elif tag == "figcaption":
            self.captions.append(text)
        elif tag == "li":
            self.legend.append(text)
        elif tag in ("h1", "h2", "h3"):
            self.headings.append(text)

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self._text[tag] += data

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("href", "xlink:href", "src"):
                self.references.append(value or "")
            self.references += re.findall(r"url\(([^)]*)\)", value or "")
