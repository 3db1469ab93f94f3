"""What a command hands back: text for standard output, a remark for standard error, an exit status."""

import msgspec


class Outcome(msgspec.Struct, frozen=True):
    """Printed by the entry point, when nothing can fail any more but the pipe."""

    text: str = ""
    note: str = ""
    status: int = 0
