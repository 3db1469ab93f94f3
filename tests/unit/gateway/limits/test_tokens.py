"""What requests are expected to use of limits of tokens, and how that is corrected."""

from services.gateway.limits.tokens import FIRST_OUTPUT, TokenEstimates
from services.gateway.usage.used_tokens import UsedTokens
from tests.support.rate_limits import request

CHAT = b'{"model":"m","messages":[{"role":"user","content":"%s"}]%s}'


def test_first_request_is_expected_by_its_size_and_its_maximum() -> None:
    estimates = TokenEstimates()
    body = CHAT % (b"x" * 4000, b"")
    assert estimates.hold(request(), body).expected == len(body) // 4 + FIRST_OUTPUT
    bounded = CHAT % (b"x" * 4000, b',"max_tokens":50')
    assert estimates.hold(request(), bounded).expected == len(bounded) // 4 + 50
    assert estimates.hold(request(), None).expected == FIRST_OUTPUT


def test_later_requests_are_expected_by_the_recent_ones_of_their_token() -> None:
    estimates = TokenEstimates()
    body = CHAT % (b"x" * 8000, b"")
    for _ in range(100):
        estimates.record(estimates.hold(request(), body), UsedTokens(1000, 300))
    for output in (280, 320):
        estimates.record(estimates.hold(request(), None), UsedTokens(7, output))
    assert 1290 <= estimates.hold(request(), body).expected <= 1310
    assert estimates.hold(request("other"), None).expected == FIRST_OUTPUT
    generous = CHAT % (b"", b',"max_tokens":100000')
    assert estimates.hold(request(), generous).expected < 400
