"""HTTP handlers of the embedded ClickHouse that reject cross-site requests."""


def xml(port: int) -> str:
    """HTTP handlers for local programs and the server's own pages only.

    A browser names the requesting site: in Host after DNS rebinding, otherwise in Origin or Sec-Fetch-Site. Programs
    send neither of the latter. `http_options_response` replaces the headers with which the server would let any site
    read its responses.
    """
    here = r"(127\.0\.0\.1|localhost|\[::1\])"
    host = _header("Host", rf"{here}(:\d+)?")  # any port: a tunnel or a TLS proxy has another one
    trusted = host + _header("Origin", f"(http://{here}(:{port})?)?") + _header("Sec-Fetch-Site", "(same-origin|none)?")
    query = "<type>dynamic_query_handler</type><query_param_name>query</query_param_name>"
    handlers = (
        ("GET,HEAD", r"/ping/?", host, "<type>ping</type>"),
        ("GET,HEAD", r"/play/?", host, "<type>play</type>"),  # a page without data that other sites may link to
        ("GET,HEAD,POST", r"/(query)?", trusted, query),
    )
    rules = "".join(
        f"<rule><methods>{methods}</methods><url><![CDATA[regex:{url}]]></url><headers>{headers}</headers>"
        f"<handler>{handler}</handler></rule>"
        for methods, url, headers, handler in handlers
    )
    refused = (
        "<rule><handler><type>static</type><status>403</status><content_type>text/plain; charset=UTF-8</content_type>"
        "<response_content>Cross-site request blocked: local programs only.\n</response_content>"
        "</handler></rule>"
    )
    return f"""<http_options_response><header><name>Vary</name><value>Origin</value></header></http_options_response>
  <http_handlers>{rules}{refused}</http_handlers>"""


def _header(name: str, pattern: str) -> str:
    """A condition on a header; a missing header counts as empty."""
    return f"<{name}><![CDATA[regex:{pattern}]]></{name}>"
