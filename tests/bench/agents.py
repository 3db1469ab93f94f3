"""What coding agents send: headers, and bodies full of tools and messages."""

import json
from typing import Any

# Of Claude Code 2.1.332 and Codex 0.171.0, without credentials and framing.
CLAUDE_CODE = (
    "Accept: application/json\r\nContent-Type: application/json\r\n"
    "User-Agent: claude-cli/2.1.332 (external, sdk-cli)\r\n"
    "X-Claude-Code-Session-Id: 2f40990e-4fad-4ba0-b1f4-8184782a4091\r\nX-Stainless-Arch: x64\r\n"
    "X-Stainless-Lang: js\r\nX-Stainless-OS: Linux\r\nX-Stainless-Package-Version: 0.128.0\r\n"
    "X-Stainless-Retry-Count: 0\r\nX-Stainless-Runtime: node\r\nX-Stainless-Runtime-Version: v26.12.1\r\n"
    "X-Stainless-Timeout: 600\r\n"
    "anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "thinking-token-count-2026-05-13,advanced-tool-use-2025-11-20\r\n"
    "anthropic-dangerous-direct-browser-access: true\r\nanthropic-version: 2023-06-01\r\nx-app: cli\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
)
_THREAD = "01a2278c-429a-7ee0-a88f-a78d75d5bc15"
_TURN = json.dumps(
    {
        "installation_id": "61504ce1-94d5-47a5-b476-dfd8680c2ec4", "session_id": _THREAD, "thread_id": _THREAD,
        "agent_name": "/root", "turn_id": "01a2278c-431a-74d1-bf78-fdeb4f4009b0", "window_id": f"{_THREAD}:0",
        "window_number": 0, "context_window_id": "01a2278c-42a1-78e0-86bb-100fd2452465", "request_kind": "turn",
        "history_initialization": "new", "root_turn_id": "01a2278c-431a-74d1-bf78-fdeb4f4009b0",
        "thread_source": "user", "turn_trigger": "exec", "sandbox": "seccomp", "sandbox_mode": "read-only",
        "turn_started_at_unix_ms": 1795959833376, "analytics_enabled": False, "model": "gpt-5.1",
    },
    separators=(",", ":"),
)  # fmt: skip
CODEX = (
    f"version: 0.171.0\r\nx-codex-beta-features: remote_compaction_v2\r\nx-codex-window-id: {_THREAD}:0\r\n"
    f"x-codex-turn-metadata: {_TURN}\r\nx-client-request-id: {_THREAD}\r\nsession-id: {_THREAD}\r\n"
    f"thread-id: {_THREAD}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
    "originator: codex_exec\r\n"
    "User-Agent: codex_exec/0.171.0 (Debian 12.0.0; x86_64) dumb (codex_exec; 0.171.0)\r\n"
    "Accept-Encoding: zstd,gzip\r\n"
)
_SCHEMA = {"type": "object", "properties": {"command": {"type": "string", "description": "The command to execute"}}}


def fields(size: int) -> dict[str, Any]:
    """Tools and messages of about `size` bytes in JSON: a third are tools, the rest is a conversation."""
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": "Runs it. " * 200, "parameters": _SCHEMA}}
        for n in range(size // 3 // 2000)
    ]
    said = [
        {"role": "user" if n % 2 else "assistant", "content": 'def read(path):\n    return "line" \\\n' * 50}
        for n in range(size * 2 // 3 // 2200)
    ]
    return {"tools": tools, "messages": said}
