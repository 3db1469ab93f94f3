"""A read-only Kubernetes API: enough for Helm's `lookup` in a server-side dry run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Object = dict[str, Any]

_KINDS: dict[str, dict[str, str]] = {
    "v1": {"services": "Service", "configmaps": "ConfigMap", "serviceaccounts": "ServiceAccount", "pods": "Pod"},
    "apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "batch/v1": {"jobs": "Job"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
    "autoscaling/v2": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy", "ingresses": "Ingress"},
    "keda.sh/v1alpha1": {"scaledobjects": "ScaledObject"},
}


def workload(kind: str, name: str, *, replicas: int, ready: int) -> Object:
    """A live Deployment or StatefulSet of which `ready` pods are ready."""
    metadata = {"name": name, "namespace": "llm", "generation": 1}
    status = {"replicas": replicas, "readyReplicas": ready, "observedGeneration": 1}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"replicas": replicas},
        "status": status,
    }


@contextmanager
def serving(*objects: Object) -> Iterator[str]:
    """The URL of an API server that knows these objects of the group apps."""
    found = {(one["kind"], one["metadata"]["name"]): one for one in objects}

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = _answer(self.path.partition("?")[0].rstrip("/"), found)
            body = json.dumps(answer).encode()
            self.send_response(answer.get("code", 200))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(path: str, found: dict[tuple[str, str], Object]) -> Object:
    if path == "/version":
        return {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(one) for one in _KINDS if "/" in one]}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in _KINDS:
        return _resources(version)
    *_, resource, name = path.split("/")
    kind = next((kinds[resource] for kinds in _KINDS.values() if resource in kinds), "")
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
    return found.get((kind, name), missing)


def _group(version: str) -> Object:
    group, _, number = version.partition("/")
    about = {"groupVersion": version, "version": number}
    return {"name": group, "versions": [about], "preferredVersion": about}


def _resources(version: str) -> Object:
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}
        for name, kind in _KINDS[version].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
