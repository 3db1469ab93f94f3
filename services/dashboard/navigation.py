"""Navigation: the pages of the sidebar and the tabs of Analytics."""

from typing import NamedTuple

from services.dashboard.auth.routes import Access


class NavItem(NamedTuple):
    """A link. `icon`: an SVG path. `keeps_view`: links to it keep period and filters."""

    path: str
    title: str
    icon: str = ""
    keeps_view: bool = False
    needs: Access = Access.VIEWER


ANALYTICS = (
    NavItem("/", "Overview"),
    NavItem("/cost", "Cost"),
    NavItem("/explore", "Explore"),
    NavItem("/latency", "Latency"),
    NavItem("/errors", "Errors"),
    NavItem("/requesters", "Requesters"),
    NavItem("/sessions", "Sessions"),
)
COST_PAGES = (  # of the tab Cost
    NavItem("/cost", "Cost"),
    NavItem("/changes", "Why did it change"),
    NavItem("/accounts", "Accounts"),
    NavItem("/savings", "Savings"),
    NavItem("/prompt-cache", "Prompt cache"),
)
PAGES = (
    NavItem("/", "Analytics", "M4 19V5m0 14h16M8 15l3.5-4 3 2.5L20 7", keeps_view=True),
    NavItem("/logs", "Logs", "M5 6h14M5 12h14M5 18h9", keeps_view=True),
    NavItem("/keys", "Keys", "M14 10a4 4 0 11-4-4 4 4 0 014 4zm-1 3l7 7m-3-3l2-2"),
    NavItem("/limits", "Limits", "M4 17a8 8 0 1116 0M12 17l4-6"),
    NavItem("/alerts", "Alerts", "M6 17V11a6 6 0 0112 0v6l1.5 2h-15zM10 19a2 2 0 004 0"),
    NavItem("/cache", "Cache", "M5 7c0-4 14-4 14 0v10c0 4-14 4-14 0zm0 0c0 4 14 4 14 0M5 12c0 4 14 4 14 0"),
    NavItem("/integrate", "Integrate", "M9 8l-5 4 5 4m6-8l5 4-5 4"),
    NavItem("/health", "Health", "M3 12h4l3-7 4 14 3-7h4", needs=Access.OPERATOR),
    NavItem("/audit", "Audit log", "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5", needs=Access.ADMIN),
    NavItem("/settings", "Settings", "M4 7h9m4 0h3M4 17h3m4 0h9M15 5v4M9 15v4"),
)
PAGES_WITH_VIEW = {item.path: item.title for item in (*COST_PAGES, *ANALYTICS)} | {
    "/logs": "Logs"
}  # by path: their title
