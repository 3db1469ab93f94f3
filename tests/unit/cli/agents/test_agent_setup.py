"""`metrion agent setup`: what it writes, keeps, asks and refuses."""

import errno
import io
import json
import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli import confirm
from services.cli import main as cli
from services.cli.agents import gateway_call, tokens
from shared import private_file
from shared.agent_tools import documents
from shared.agent_tools.catalog import TOOLS

TOKEN = "sk-metrion-" + "a" * 32
VARIABLES = {
    name for tool in TOOLS.values() for file in (*tool.files, *tool.subscription) for name in (file.folder_variable,)
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without any configuration."""
    for name in {*VARIABLES, "METRION_TOKEN", "METRION_PUBLIC_GATEWAY_URL"} - {""}:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("METRION_DATA_DIR", str(tmp_path / "none"))
    return tmp_path


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRION_TOKEN", TOKEN)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(home: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_is_set_up_once_and_removed_without_a_trace(
    tool: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["agent", "setup", tool, "--yes"]) == 0
    written = snapshot(home)
    assert TOKEN.encode() in b"".join(written.values())
    assert {mode(Path(path)) for path in written} == {0o600}
    out, err = capsys.readouterr()
    assert TOKEN not in out + err and "+++" in out
    assert f"metrion agent doctor {tool}" in err
    assert cli.main(["agent", "setup", tool, "--yes"]) == 0
    assert "Nothing to change." in capsys.readouterr().err
    assert snapshot(home) == written
    assert cli.main(["agent", "setup", tool, "--remove", "--yes"]) == 0
    assert snapshot(home) == {}
    assert cli.main(["agent", "setup", tool, "--remove", "--yes"]) == 0
    assert "Nothing to change." in capsys.readouterr().err


@pytest.mark.usefixtures("token")
def test_the_file_before_is_kept_and_comes_back(home: Path) -> None:
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    before = '# mine\nmodel_provider = "azure"\n'
    file.write_text(before)
    assert cli.main(["agent", "setup", "codex", "--yes", "--requester", "ann"]) == 0
    backup = file.with_name("config.toml.before-metrion")
    assert (backup.read_text(), mode(backup)) == (before, 0o600)
    assert "# mine" in file.read_text() and 'model_provider = "metrion"' in file.read_text()
    assert cli.main(["agent", "setup", "codex", "--yes", "--requester", "bob"]) == 0
    assert backup.read_text() == before, "a second run does not replace the backup"
    assert cli.main(["agent", "setup", "codex", "--remove", "--yes"]) == 0
    assert file.read_text() == before
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


@pytest.mark.usefixtures("token")
def test_a_symbolic_link_stays_one(home: Path) -> None:
    real = home / "dotfiles" / "claude.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o644)
    link = home / ".claude" / "settings.json"
    link.parent.mkdir()
    link.symlink_to(real)
    assert cli.main(["agent", "setup", "claude-code", "--yes"]) == 0
    assert link.is_symlink() and TOKEN in real.read_text() and mode(real) == 0o600
    assert cli.main(["agent", "setup", "claude-code", "--remove", "--yes"]) == 0
    assert link.is_symlink() and real.read_text() == "{}"


def test_without_a_terminal_and_yes_nothing_is_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--dry-run"], ["--create-token"]):
        assert cli.main(["agent", "setup", "claude-code", *options]) == 0
        out, err = capsys.readouterr()
        assert "ANTHROPIC_BASE_URL" in out and "Nothing was written" in err
    assert snapshot(home) == {}


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(("reply", "status"), [("y\n", 0), ("\n", 1)])
def test_a_person_is_asked_for_confirmation(
    home: Path, reply: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(confirm, "is_dry_run", lambda **_: False)
    monkeypatch.setattr(sys, "stdin", io.StringIO(reply))
    assert cli.main(["agent", "setup", "pi"]) == status
    assert "Write 1 file? [y/N]" in capsys.readouterr().err
    assert bool(snapshot(home)) is (status == 0)


def test_the_token_is_read_from_standard_input_and_kept_by_later_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(TOKEN + "\n"))
    assert cli.main(["agent", "setup", "opencode", "--yes", "--gateway", "https://llm.example.com/api/proxy/"]) == 0
    assert cli.main(["agent", "setup", "opencode", "--yes", "--meta", "project=shop"]) == 0
    found = json.loads((home / ".config/opencode/opencode.json").read_text())["provider"]["openai"]["options"]
    assert found == {
        "baseURL": "https://llm.example.com/api/proxy/openai/v1",
        "apiKey": TOKEN,
        "headers": {"x-metrion-meta-project": "shop"},
    }


@pytest.mark.usefixtures("token")
def test_print_shows_the_files_and_touches_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text("not toml")
    assert cli.main(["agent", "setup", "codex", "--print", "--requester", "ann"]) == 0
    out = capsys.readouterr().out
    assert f"METRION_TOKEN={TOKEN}" in out and 'x-metrion-user = "ann"' in out and "config.toml" in out
    assert (home / ".codex/config.toml").read_text() == "not toml"


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nano"], "unknown tool 'nano'; known are claude-code"),
        (["codex", "--gateway", "llm.example.com"], "not the URL of a gateway"),
        (["codex", "--gateway", "http://h/api/proxy/openai/v1"], "give the gateway's URL only"),
        (["codex", "--gateway", "http://h/v1"], "give the gateway's URL only"),
        (["codex", "--meta", "Project=x"], "write KEY=VALUE"),
        (["codex", "--requester", 'a"b'], "x-metrion-user: at most 256 characters"),
        (["codex", "--model", "gpt-5"], "the model is chosen in Codex itself"),
        (["aider", "--model", "a b"], "invalid model"),
        (["codex", "--subscription"], "Codex is set up with a token only"),
        (["grok-cli", "--requester", "ann"], "grok-cli sends no headers"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_written(
    options: list[str], message: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["agent", "setup", *options, "--yes"]) == 1
    assert message in capsys.readouterr().err
    assert snapshot(home) == {}


@pytest.mark.parametrize("text", ["", "sk-ant-key\n"])
def test_something_that_is_no_token_is_refused(
    text: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert cli.main(["agent", "setup", "codex", "--yes"]) == 1
    assert "token" in capsys.readouterr().err
    assert snapshot(home) == {}


@pytest.mark.usefixtures("token")
def test_a_malformed_file_is_named_and_left_alone_and_hides_no_other_tool(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def get(*_: object) -> None:
        raise gateway_call.Unreachable

    monkeypatch.setattr(gateway_call, "get", get)
    assert cli.main(["agent", "setup", "pi", "--yes"]) == 0
    file = home / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text('{\n"env": oops\n}')
    for command in (["setup", "claude-code", "--yes"], ["list"], ["doctor"]):
        capsys.readouterr()
        assert cli.main(["agent", *command]) == 1
        shown = capsys.readouterr()
        assert f"{file}: line 2: invalid value 'oops'" in shown.out + shown.err
        assert command[0] == "setup" or str(home / ".pi/agent/models.json") in shown.out
    assert file.read_text() == '{\n"env": oops\n}'


@pytest.mark.usefixtures("token")
def test_the_list_says_which_tools_are_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "setup", "claude-code", "--subscription", "--yes"]) == 0
    capsys.readouterr()
    assert cli.main(["agent", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["tool"] for row in rows if row["state"] == "set up"] == ["claude-code"]
    assert len(rows) == len(TOOLS)


# Files as editors on Windows write them.
ODD_FILES = {
    "claude-code": (".claude/settings.json", b'\xef\xbb\xbf{\r\n  "model": "opus",\r\n  "env": {"LANG": "\xc3\xbc"}\r\n}\r\n'),
    "codex": (".codex/config.toml", b'# mine\r\nmodel_provider = "azure"\r\n\r\n[model_providers.azure]\r\nname = "\xc3\xbc"\r\n'),
    "mistral-vibe": (".vibe/.env", b"MISTRAL_API_KEY=mine\r\nOTHER=2\r\n"),
    "continue": (".continue/config.yaml", b"\xef\xbb\xbfname: mine # \xc3\xbc\r\nversion: 1.0.0\r\n"),
    "grok-cli": (".config/metrion/agents/grok-cli.sh", b"# mine\r\nexport EDITOR=vi\r\n"),
}  # fmt: skip


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("tool", ODD_FILES)
def test_line_ends_and_a_byte_order_mark_stay_and_undoing_restores_every_byte(tool: str, home: Path) -> None:
    name, before = ODD_FILES[tool]
    file = home / name
    file.parent.mkdir(parents=True)
    file.write_bytes(before)
    assert cli.main(["agent", "setup", tool, "--yes"]) == 0
    written = file.read_bytes()
    assert TOKEN.encode() in b"".join(snapshot(home).values())
    assert written.count(b"\n") == written.count(b"\r\n") >= before.count(b"\n")
    assert written.startswith(before[:3])
    assert file.with_name(file.name + ".before-metrion").read_bytes() == before
    assert cli.main(["agent", "setup", tool, "--yes"]) == 0
    assert file.read_bytes() == written
    assert cli.main(["agent", "setup", tool, "--remove", "--yes"]) == 0
    assert snapshot(home) == {str(file): before}


MALFORMED = (b"{", b"a = [", b"a: [", b"\xff", b"[1]\n- x\n}")


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("original", ["null", "~\n", "[]", "[]\n", "\ufeffnull\n", "# mine\n", "# mine\n\n  # too\n"])
@pytest.mark.parametrize(
    ("tool", "name"), [("llm", ".config/io.datasette.llm/extra-openai-models.yaml"), ("aider", ".aider.conf.yml")]
)
def test_yaml_with_nothing_in_it_is_set_up_and_comes_back(tool: str, name: str, original: str, home: Path) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    original = original.replace("[]", "{}") if tool == "aider" else original
    path.write_text(original)
    assert cli.main(["agent", "setup", tool, "--yes"]) == 0
    assert documents.parse("yaml", path.read_text().removeprefix("\ufeff")).text
    assert cli.main(["agent", "setup", tool, "--remove", "--yes"]) == 0
    assert path.read_text() == original


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    "original", ["a: ~\nb: TRUE\nc: 2001-12-14t21:59:43.10-05:00\n", "---\n# mine\na: 1\n", "a: &x {b: 1}\nc:   *x\n"]
)
def test_yaml_that_is_written_in_another_form_comes_back(original: str, home: Path) -> None:
    path = home / ".aider.conf.yml"
    path.write_text(original)
    assert cli.main(["agent", "setup", "aider", "--yes"]) == 0
    assert cli.main(["agent", "setup", "aider", "--remove", "--yes"]) == 0
    assert path.read_text() == original


@pytest.mark.usefixtures("token")
def test_yaml_to_which_nothing_can_be_added_is_refused_and_left_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / ".aider.conf.yml"
    path.write_text("null\n...\n---\n")
    assert cli.main(["agent", "setup", "aider", "--yes"]) != 0
    assert "Traceback" not in capsys.readouterr().err
    assert path.read_text() == "null\n...\n---\n"


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("tool", TOOLS)
def test_a_file_that_cannot_be_read_or_written_is_named_and_nothing_is_written(
    tool: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kept in TOOLS[tool].files:
        file = home / kept.folder / kept.name
        file.parent.mkdir(parents=True, exist_ok=True)
        for text in MALFORMED:
            file.write_bytes(text)
            present = snapshot(home)
            status = cli.main(["agent", "setup", tool, "--yes"])
            shown = capsys.readouterr()
            assert "Traceback" not in shown.err
            if status:
                assert str(file) in shown.err
                assert snapshot(home) == present
            else:
                assert cli.main(["agent", "setup", tool, "--remove", "--yes"]) == 0
                capsys.readouterr()
        file.unlink()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def read_only(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o444)


def huge(path: Path) -> None:
    path.write_text(f'{{"x": "{"y" * (1 << 20)}"}}')


def endless(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is not a regular file"),
        (fifo, "is not a regular file"),
        (device, "is not a regular file"),
        (endless, "Too many levels of symbolic links"),
        (huge, "is larger than 1 MB"),
        (read_only, "is read-only"),
    ],
)
def test_something_else_in_a_file_s_place_is_named_and_nothing_is_written(
    make: Callable[[Path], None], reason: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tool, name in (("claude-code", ".claude/settings.json"), ("gemini-cli", ".gemini/settings.json")):
        file = home / name
        file.parent.mkdir()
        make(file)
        assert cli.main(["agent", "setup", tool, "--yes"]) == 1
        assert f"metrion: {file}: {reason}" in capsys.readouterr().err
        assert [path for path in file.parent.iterdir() if path != file] == [], (
            "neither a backup nor the tool's other file"
        )


@pytest.mark.usefixtures("token")
def test_a_file_of_another_user_is_named_and_nothing_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    for tool, name in (("claude-code", ".claude/settings.json"), ("gemini-cli", ".gemini/settings.json")):
        file = home / name
        file.parent.mkdir()
        file.write_text("{}")
        assert cli.main(["agent", "setup", tool, "--yes"]) == 1
        assert f"metrion: {file}: belongs to another user" in capsys.readouterr().err
        assert list(file.parent.iterdir()) == [file] and file.read_text() == "{}"


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("command", [["setup"], ["setup", "--remove"]])
def test_when_a_file_cannot_be_written_the_others_are_put_back(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [home / file.folder / file.name for file in TOOLS["gemini-cli"].files]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("{}" if file.suffix == ".json" else "A=1\n")
        file.chmod(0o640)
    if "--remove" in command:
        assert cli.main(["agent", "setup", "gemini-cli", "--yes"]) == 0
    before, modes = snapshot(home), [mode(file) for file in files]
    replace = private_file.replace

    def fails(path: Path, data: bytes) -> None:
        monkeypatch.setattr(private_file, "replace", replace)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def replaced(path: Path, data: bytes) -> None:
        replace(path, data)
        if path == files[0]:
            monkeypatch.setattr(private_file, "replace", fails)

    monkeypatch.setattr(private_file, "replace", replaced)
    assert cli.main(["agent", command[0], "gemini-cli", "--yes", *command[1:]]) == 1
    assert f"{files[1]}: No space left on device" in capsys.readouterr().err
    assert (snapshot(home), [mode(file) for file in files]) == (before, modes)


@pytest.mark.usefixtures("token")
def test_the_user_s_own_keys_are_kept_in_the_backup_and_masked_in_the_diff(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home / ".claude" / "settings.json"
    file.parent.mkdir()
    keys = {"ANTHROPIC_AUTH_TOKEN": "my-own-key-0123456789", "OPENAI_API_KEY": "sk-proj-0123456789abcdefghij"}
    file.write_text(json.dumps({"env": keys}, indent=2))
    for options, sign in (([], "-"), (["--remove"], "+")):
        assert cli.main(["agent", "setup", "claude-code", "--yes", *options]) == 0
        shown = capsys.readouterr().out
        assert f'{sign}    "ANTHROPIC_AUTH_TOKEN": "my-…6789"' in shown
        assert "0123456789" not in shown
    assert json.loads(file.read_text())["env"] == keys


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HOME", "", "there is no home directory: set HOME"),
        ("HOME", "relative", "'relative' is not a home directory: set HOME"),
        ("HOME", "/nowhere/at/all", "'/nowhere/at/all' is not a home directory"),
        ("CODEX_HOME", "~no-such-user/x", "CODEX_HOME is '~no-such-user/x': there is no such home directory"),
    ],
)
def test_a_home_directory_that_there_is_not_is_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv(name, value)
    for command in (["setup", "codex", "--yes"], ["doctor"], ["list"]):
        assert cli.main(["agent", *command]) == 1
        assert message in capsys.readouterr().err


def test_yaml_that_would_take_forever_is_refused() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        documents.parse("yaml", "[" * 3000 + "]" * 3000)


@pytest.mark.usefixtures("token")
def test_a_token_is_created_only_if_the_files_can_be_written(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    created = []

    async def create(account: str, name: str, requester: str) -> tuple[str, str]:
        created.append(name)
        return TOKEN, ""

    monkeypatch.setattr(tokens, "create", create)
    file = home / ".pi/agent/models.json"
    file.parent.mkdir(parents=True)
    read_only(file)
    command = ["agent", "setup", "pi", "--create-token", "--name", "ann", "--yes"]
    assert cli.main(command) == 1
    assert created == [] and "is read-only" in capsys.readouterr().err
    file.chmod(0o644)

    def fails(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(private_file, "replace", fails)
    assert cli.main(command) == 1
    assert created == ["ann"] and "metrion token revoke --account default --name ann" in capsys.readouterr().err
