"""Headers that are hop-by-hop, or meant for one side of the gateway only."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Set for each hop, or never forwarded (cookies are not specific to a port: one would belong to another service).
_SET_ANEW = frozenset({"host", "content-length", "expect", "cookie"})
# Added by load balancers, CDNs and meshes on the way to the gateway.
_EDGE = frozenset(
    {
        *("cdn-loop", "client-ip", "fastly-ff", "fastly-ssl", "forwarded", "front-end-https", "remote-addr", "via"),
        *("true-client-ip", "x-client-cert", "x-client-ip", "x-cluster-client-ip", "x-real-ip", "x-real-port"),
        *("x-amz-cf-id", "x-amzn-trace-id", "x-cloud-trace-context", "x-client-data", "x-host", "x-proxyuser-ip"),
        *("incap-client-ip", "x-cdn", "x-request-start", "x-ms-forwarded-client-ip", "x-queue-start"),
        *("x-newrelic-id", "x-rewrite-url", "x-scheme", "x-varnish", "x-wap-profile", "x-ssl", "x-port"),
    }
)
_EDGE_PREFIXES = (
    *("akamai-", "cf-", "cloudfront-", "fastly-client", "fly-", "ssl-client-", "x-accel-", "x-akamai-", "x-amzn-oidc-"),
    *("x-amzn-mtls-", "x-amzn-tls-", "x-appengine-", "x-appgw-", "x-arr-", "x-auth-request-", "x-azure-", "x-edge-"),
    *("x-envoy-", "x-fastly-", "x-fd-", "x-forwarded", "x-goog-iap-", "x-istio-", "x-middleware-", "x-nf-"),
    *("l5d-", "remote-", "tailscale-", "x-authentik-", "x-goog-authenticated-user-", "x-ms-client-principal"),
    *("x-pomerium-", "x-remote-", "x-webauth-"),
    *("x-original-", "x-railway-", "x-sendfile-", "x-serverless-", "x-ssl-", "x-sucuri-", "x-traefik-", "x-vercel-"),
)
# They make some servers use another method than the gateway sees.
_OVERRIDES = frozenset({"x-http-method", "x-http-method-override", "x-method-override", "x-method"})

# Those that concern the provider's own origin, or that only the gateway may set.
_RESPONSE = frozenset(
    {
        *("alt-svc", "clear-site-data", "nel", "public-key-pins", "report-to", "reporting-endpoints", "set-cookie"),
        *("service-worker-allowed", "set-cookie2", "set-login", "strict-transport-security"),
        # Commands to a proxy in front of the gateway.
        *("x-accel-charset", "x-accel-expires", "x-accel-limit-rate", "x-accel-redirect"),
        *("x-lighttpd-send-file", "x-sendfile"),
    }
)
_RESPONSE_PREFIXES = ("access-control-", "x-metrion-")


def is_kept_from_provider(lower: str) -> bool:
    """Whether a request header (in lower case) is not forwarded."""
    return (
        lower in HOP_BY_HOP
        or lower in _SET_ANEW
        or lower in _EDGE
        or lower in _OVERRIDES
        or lower.startswith(_EDGE_PREFIXES)
    )


def is_kept_from_client(name: str) -> bool:
    """Whether a response header is not forwarded."""
    lower = name.lower()
    return lower in HOP_BY_HOP or lower in _RESPONSE or lower.startswith(_RESPONSE_PREFIXES)
