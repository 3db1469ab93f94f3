"""Checks of a coding agent's configuration, up to a call through the gateway."""

import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from services.cli.agents import files, gateway_call
from services.cli.agents.files import Unreadable
from services.cli.agents.gateway_call import Unreachable
from services.cli.agents.setup import ADDRESS
from shared.agent_tools import merge
from shared.agent_tools.catalog import TOOLS
from shared.agent_tools.model import PROXY_PATH, SHELL, ConfigFile, Setting, Tool

OK = "ok"
WARNING = "warning"
FAILED = "failed"
_SOON = timedelta(days=7)
_VERSIONS = re.compile(r"(/v\d\w*)*/*$")
_OWN = "/metrion/me"


class Finding(NamedTuple):
    """The result of one check of a tool."""

    tool: str
    check: str
    state: str
    message: str


class _Configuration(NamedTuple):
    """What the files of a tool say. `texts`: those that exist."""

    chosen: tuple[ConfigFile, ...]
    texts: list[tuple[ConfigFile, Path, str]]
    values: list[tuple[Path, Setting, str]]

    def with_template(self, part: str) -> Iterator[tuple[Path, Setting, str]]:
        """Yield the values whose template contains this."""
        for path, setting, value in self.values:
            if isinstance(setting.value, str) and part in setting.value:
                yield path, setting, value

    @property
    def gateway(self) -> str:
        """The gateway's URL; "" if there is none."""
        found = (ADDRESS.search(value) for _, _, value in self.with_template("{proxy}"))
        return next((match.group(1) for match in found if match), "")

    @property
    def token(self) -> str:
        """The first token; "" without one."""
        found = (merge.TOKEN.search(value) for _, _, value in self.values)
        return next((match.group() for match in found if match), "")

    @property
    def model(self) -> str:
        """The model; "" if it is chosen in the tool."""
        for _, setting, value in self.with_template("{model}"):
            prefix = str(setting.value).partition("{model}")[0]
            if str(setting.value).endswith("{model}"):
                return value.removeprefix(prefix)
        return ""


def tools_set_up(environ: Mapping[str, str]) -> list[Tool]:
    """Return the tools that are set up, and those whose files cannot be read."""
    return [tool for tool in TOOLS.values() if _may_be_set_up(tool, environ)]


def _may_be_set_up(tool: Tool, environ: Mapping[str, str]) -> bool:
    try:
        return bool(files.configured_files(tool, environ))
    except Unreadable:
        return True


async def examine(tool: Tool, environ: Mapping[str, str]) -> list[Finding]:
    """Check a tool: its files, the environment, then a call through the gateway."""
    try:
        return await _examine(tool, environ)
    except Unreadable as error:
        return [Finding(tool.name, "configuration", FAILED, str(error))]


async def _examine(tool: Tool, environ: Mapping[str, str]) -> list[Finding]:
    chosen = files.configured_files(tool, environ)
    if not chosen:
        return [Finding(tool.name, "configuration", FAILED, f"not set up: metrion agent setup {tool.name}")]
    configuration = _read(chosen, environ)
    found = [
        *_check_files(tool, configuration),
        *_check_project(tool, configuration),
        *_check_environment(tool, configuration, environ),
    ]
    named = [Finding(tool.name, *one) for one in found]
    if configuration.gateway and configuration.token:
        named += [Finding(tool.name, *one) for one in await _check_calls(tool, configuration)]
    return named


def _read(chosen: tuple[ConfigFile, ...], environ: Mapping[str, str]) -> _Configuration:
    paths = [(file, files.locate(file, environ)) for file in chosen]
    texts = [(file, path, text) for file, path in paths if (text := files.read(path))]
    values = [
        (path, setting, value)
        for file, path, text in texts
        for setting, value in files.edited(path, merge.values_in, file, text)
    ]
    return _Configuration(chosen, texts, values)


_Result = tuple[str, str, str]  # check, state, message


def _check_files(tool: Tool, configuration: _Configuration) -> Iterator[_Result]:
    paths = ", ".join(str(path) for _, path, _ in configuration.texts)
    yield "configuration", OK, paths
    yield from _check_addresses(configuration)
    if not configuration.token:
        yield "token", FAILED, f"no Metrion token in {paths}: metrion agent setup {tool.name}"
    for _, path, text in configuration.texts:
        if merge.TOKEN.search(text) and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield "permissions", WARNING, f"others may read the token: chmod 600 {path}"
    missing = {".".join(str(part) for part in setting.path) for setting in _missing(configuration)}
    if missing:
        yield "settings", FAILED, f"missing: {', '.join(sorted(missing))}; run metrion agent setup {tool.name}"


def _missing(configuration: _Configuration) -> Iterator[Setting]:
    present = {setting.path for _, setting, _ in configuration.values}
    for file in configuration.chosen:
        yield from (one for one in file.flat() if isinstance(one.value, str) and one.path not in present)


def _check_addresses(configuration: _Configuration) -> Iterator[_Result]:
    """Compare every address with what the tool needs; a version twice is a usual mistake."""
    is_right = True
    for path, setting, value in configuration.with_template("{proxy}"):
        wanted = str(setting.value).format(proxy=f"{configuration.gateway}{PROXY_PATH}", token="", model="")
        if str(setting.value).startswith("{proxy}") and value.rstrip("/") != wanted:
            is_right = False
            # The gateway accepts a version that is there twice or not at all; other gateways and proxies do not.
            state = WARNING if _VERSIONS.sub("", value) == _VERSIONS.sub("", wanted) else FAILED
            yield "address", state, f"{path} has {value}, which should be {wanted or 'the address of the gateway'}"
    if is_right:
        yield "address", OK, configuration.gateway


def _check_project(tool: Tool, configuration: _Configuration) -> Iterator[_Result]:
    """Look for files of the project that override those of the user."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return
    used = {path.resolve() for _, path, _ in configuration.texts}
    for file, names in zip(configuration.chosen, tool.project_files, strict=False):
        own = {setting.path: value for path, setting, value in configuration.values}
        for name in names:
            path = folder / name
            if path.resolve() in used or not (text := files.read(path)):
                continue
            for setting, value in files.edited(path, merge.values_in, file, text):
                if value and value != own.get(setting.path, value):
                    shown = ".".join(map(str, setting.path))
                    yield "project", FAILED, f"{path} overrides {shown} of the user's file"


def _check_environment(tool: Tool, configuration: _Configuration, environ: Mapping[str, str]) -> Iterator[_Result]:
    """Look for variables that override the files, or that a sourced file should have set."""
    in_files = {setting.path[-1]: value for _, setting, value in configuration.values}
    is_sourced = any(file.format == SHELL for file in configuration.chosen)
    is_subscription = configuration.chosen is tool.subscription
    is_right = True
    for name in tool.subscription_variables if is_subscription else tool.variables:
        value = environ.get(name)
        if value is None:
            if is_sourced and in_files.get(name):
                path = configuration.texts[0][1]
                yield "environment", FAILED, f"{name} is not set: add to your shell's profile: . {path}"
                return
        elif value != in_files.get(name, ""):
            is_right = False
            what = "ends the use of the subscription" if is_subscription else "overrides the files"
            yield "environment", FAILED, f"the variable {name} {what}: unset it"
    if is_right:
        yield "environment", OK, "no variable overrides the files"


async def _check_calls(tool: Tool, configuration: _Configuration) -> list[_Result]:
    proxy = configuration.gateway + PROXY_PATH
    key = {"authorization": f"Bearer {configuration.token}"}
    try:
        own = await gateway_call.get(proxy + _OWN, key)
        results = _about_token(tool, configuration, own) if own.status == 200 else []
        if any(state == FAILED for _, state, _ in results):
            return results
        if own.status in (401, 403) and own.message:
            return [("token", FAILED, own.message)]
        base = tool.base.format(proxy=proxy)
        if configuration.chosen is tool.subscription:
            return results or [("gateway", OK, "reachable; the sign-in is not checked")]
        models = await gateway_call.get(base + tool.probe, key)
    except Unreachable as error:
        return [("gateway", FAILED, str(error))]
    return [*results, _about_models(tool, models, is_confined=own.status == 200)]


def _about_token(tool: Tool, configuration: _Configuration, own: gateway_call.Response) -> list[_Result]:
    """Read what the gateway says about the token."""
    token: dict[str, Any] = own.document.get("token") or {}
    results = [("token", OK, f"{token.get('name')} of account {own.document.get('account')}")]
    providers, models = token.get("providers"), token.get("models")
    if providers and tool.provider not in providers:
        return [("token", FAILED, f"may not use {tool.provider}, only {', '.join(providers)}")]
    model = configuration.model
    if models and model and not any(fnmatchcase(model, pattern) for pattern in models):
        return [("token", FAILED, f"may not use {model}, only {', '.join(models)}")]
    if (expires := _time(token.get("expires_at"))) and expires - datetime.now(UTC) < _SOON:
        results.append(("token", WARNING, f"expires {expires:%Y-%m-%d %H:%M} UTC: metrion token regenerate"))
    return results


def _about_models(tool: Tool, models: gateway_call.Response, *, is_confined: bool) -> _Result:
    if models.status == 200:
        return "provider", OK, f"{tool.provider} lists its models"
    if models.status == 403 and is_confined:
        return "provider", OK, "not called: this token may not list models"
    if models.is_from_gateway:
        is_token = models.status == 401 and "token" in models.message
        return "token" if is_token else "provider", FAILED, f"{models.status}: {models.message}"
    if models.status in (401, 403):
        return "provider", FAILED, f"{tool.provider} refuses the provider key: {models.status} {models.message}"
    if models.status == 404:
        return "provider", WARNING, f"{tool.provider} has no list of models; its key is not checked"
    return "provider", FAILED, f"{tool.provider} responded {models.status}: {models.message}"


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
