"""Accounting for the messages of a provider, before they are sent to the client."""

from services.gateway.request.errors import Refusal
from services.gateway.websocket.ending import POLICY, TOO_MANY_RESPONSES, End, Ending
from services.gateway.websocket.messages import Message
from services.gateway.websocket.open_responses import OpenResponse, OpenResponses
from services.gateway.websocket.protocol import Event, Phase, WireProtocol
from shared import events

_UNKNOWN_ERROR = 500  # status recorded for an error that states none


class ProviderMessages:
    """Reader of a connection's messages from the provider."""

    def __init__(self, wire: WireProtocol, responses: OpenResponses) -> None:
        self._wire = wire
        self._responses = responses

    async def read(self, message: Message) -> None:
        """Account for a message; Ending if it ends the connection."""
        event = self._wire.read(message.text)
        if event.phase is Phase.NOTHING:
            return
        if event.phase is Phase.BILLED:
            self._responses.account_for(event.model, message)
            return
        if event.phase is Phase.ERROR:
            self._read_error(event, message)
            return
        if event.ends_earlier:
            self._finish(event.id, events.COMPLETE)
        response = self._responses.get(event.id)
        if response is None:
            if event.phase is not Phase.BEGINS and not event.begins:
                return
            if self._responses.is_full and not self._responses.is_awaited:
                raise Ending(TOO_MANY_RESPONSES)
            is_awaited = self._responses.is_awaited
            prompt = b"" if is_awaited else self._wire.prompt(None)
            response = self._responses.begin(event.id, model=self._wire.model, prompt=prompt)
            if not is_awaited:
                await self._check_unrequested(response)
        ends = event.phase is Phase.ENDS
        self._responses.read(response, message, ends=ends, failed=event.failed)
        if ends:
            self._finish(event.id, events.COMPLETE, error_type=event.error_type, message=event.message)

    def _finish(self, name: str, outcome: str, *, error_type: str = "", message: str = "") -> None:
        response = self._responses.take(name)
        if response is None:
            return
        self._responses.finish(response, outcome, name=name, error_type=error_type, message=message)
        if response.tap.usage:
            self._wire.answered()

    def _read_error(self, event: Event, message: Message) -> None:
        """Finish the response that an error of the provider belongs to."""
        response = self._responses.refused(event)
        status = event.status or _UNKNOWN_ERROR
        if response is None:
            name = self._responses.only
            if not name or not self._wire.errors_end_responses:
                return
            response = self._responses.take(name)
            status = 0
        if response is not None:
            self._responses.read(response, message, ends=True, failed=True)
            outcome = events.UPSTREAM_ERROR if status == 0 else events.COMPLETE
            self._responses.finish(response, outcome, status=status, error_type=event.error_type, message=event.message)

    async def _check_unrequested(self, response: OpenResponse) -> None:
        """Close the connection if a response that the provider began by itself is beyond a limit."""
        try:
            await self._responses.check_limits(response, None)
        except Refusal as refusal:
            raise Ending(End(events.INTERRUPTED, POLICY, refusal.message, refusal.code)) from None
