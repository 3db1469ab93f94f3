"""HTTP handlers of the embedded ClickHouse: programs of this machine are served, pages of other sites are refused."""


def xml(port: int) -> str:
    """HTTP handlers that serve this machine's programs and the server's own pages, and no page of another site.

    A browser names the site that asks: in Host where a foreign name was made to point here (DNS rebinding), elsewhere
    in Origin or Sec-Fetch-Site. Programs send neither of the latter. `http_options_response` replaces the headers by
    which the server would let any site read its answers.
    """
    here = r"(127\.0\.0\.1|localhost|\[::1\])"
    host = _header("Host", rf"{here}(:\d+)?")  # of any port: a tunnel or a TLS proxy has another
    trusted = host + _header("Origin", f"(http://{here}(:{port})?)?") + _header("Sec-Fetch-Site", "(same-origin|none)?")
    query = "<type>dynamic_query_handler</type><query_param_name>query</query_param_name>"
    handlers = (
        ("GET,HEAD", r"/ping/?", host, "<type>ping</type>"),
        ("GET,HEAD", r"/play/?", host, "<type>play</type>"),  # a page without data: links may lead to it
        ("GET,HEAD,POST", r"/(query)?", trusted, query),
    )
    rules = "".join(
        f"<rule><methods>{methods}</methods><url><![CDATA[regex:{url}]]></url><headers>{headers}</headers>"
        f"<handler>{handler}</handler></rule>"
        for methods, url, headers, handler in handlers
    )
    refused = (
        "<rule><handler><type>static</type><status>403</status><content_type>text/plain; charset=UTF-8</content_type>"
        "<response_content>Refused: this server answers programs of this machine only.\n</response_content>"
        "</handler></rule>"
    )
    return f"""<http_options_response><header><name>Vary</name><value>Origin</value></header></http_options_response>
  <http_handlers>{rules}{refused}</http_handlers>"""


def _header(name: str, pattern: str) -> str:
    """A condition on a header; one that is not sent counts as empty."""
    return f"<{name}><![CDATA[regex:{pattern}]]></{name}>"
