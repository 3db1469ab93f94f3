"""Replaces the part of a page that `make readme` writes."""


def replaced(text: str, *, begin: str, end: str, content: str) -> str:
    """The page with this content between its markers; ValueError if one is missing."""
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
