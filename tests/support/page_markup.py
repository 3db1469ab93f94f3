"""Parser of a page's HTML: tiles, charts, tables and links."""

import json
from html.parser import HTMLParser
from typing import Any

VOID = frozenset({"meta", "link", "input", "br", "img", "hr"})


class Page(HTMLParser):
    """`tiles`: value by name. `charts`: their JSON by id. `tables`: rows of cells by the id of their card."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tiles: dict[str, str] = {}
        self.charts: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.alerts: dict[str, str] = {}
        self.links: list[str] = []
        self.sources: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(given["href"])
        self.sources += [given[name] for name in ("src", "href") if name in given and tag in ("script", "link", "img")]
        assert not any(name.startswith("on") for name in given), f"a handler in the page: {given}"
        if tag not in VOID:
            self._open.append((tag, given))
        card = self._within("id")
        if tag == "tr" and card:
            self.tables.setdefault(card, []).append([])
        if tag in ("td", "th") and card:
            self.tables[card][-1].append("")
        if tag == "li" and card:
            self.tables.setdefault(card, []).append([""])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        name, _ = self._open.pop()
        assert name == tag, f"</{tag}> closes <{name}>"

    def handle_data(self, data: str) -> None:
        tag, given = self._open[-1] if self._open else ("", {})
        card = self._within("id")
        if tag == "script" and given.get("type") == "application/json":
            self.charts[card] = json.loads(data)
        elif "data-value" in given:
            self.tiles[card.removeprefix("tile-")] = data
        elif given.get("role") == "alert":
            self.alerts[card] = data
        elif (
            self.tables.get(card) and self.tables[card][-1] and any(one in ("td", "th", "li") for one, _ in self._open)
        ):
            self.tables[card][-1][-1] = " ".join(f"{self.tables[card][-1][-1]} {data}".split())

    def _within(self, attribute: str) -> str:
        return next((given[attribute] for _, given in reversed(self._open) if attribute in given), "")

    def rows(self, card: str) -> dict[str, list[str]]:
        """A table's body by the first cell of each row."""
        return {row[0]: row[1:] for row in self.tables[card][1:]}
