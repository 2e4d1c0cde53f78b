"""Units keep their version: in the hash, in the proxy, and in what the payload log keeps."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.rollout.local_proxy import VERSION_HEADER, LocalProxy
from tidegate.rollout.unit_split import UnitSplit

SPLIT = UnitSplit("toy new", "old", "new", 0.5)


@given(unit=st.text(min_size=1), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_share_that_grows_takes_no_unit_away_from_the_candidate(unit, shares):
    small, large = (UnitSplit("toy new", "old", "new", share) for share in sorted(shares))
    if small.assign({"unit": unit}) == ("candidate", "new"):
        assert large.assign({"unit": unit}) == ("candidate", "new")


@pytest.mark.parametrize("parameters", [None, {}, [], "unit", {"unit": ""}, {"unit": 7}])
def test_a_request_without_a_unit_is_not_assigned(parameters):
    assert SPLIT.assign(parameters) is None


@pytest.fixture
def proxy():
    """A proxy before two servers that answer with what they were asked."""

    class Echo(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    servers = {version: ThreadingHTTPServer(("127.0.0.1", 0), Echo) for version in ("old", "new")}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    addresses = {v: f"http://127.0.0.1:{s.server_port}" for v, s in servers.items()}
    proxy = LocalProxy()
    proxy.start()
    proxy.addresses = addresses
    yield proxy
    proxy.stop()
    for server in servers.values():
        server.shutdown()
        server.server_close()


def ask(proxy, document):
    request = Request(f"{proxy.address}/v1/models/toy:predict", json.dumps(document).encode())
    with urlopen(request, timeout=10) as answer:
        return answer.headers[VERSION_HEADER], json.loads(answer.read())


def test_the_proxy_sends_a_unit_to_its_version_and_tells_the_server_its_arm(proxy):
    proxy.route(proxy.addresses, {"old": 0.5, "new": 0.5}, SPLIT)
    met = {}
    for number in range(40):
        unit = f"account-{number % 10}"
        version, asked = ask(proxy, {"instances": [{}], "parameters": {"unit": unit}})
        assert asked["parameters"] == {
            "unit": unit,
            "arm": "candidate" if version == "new" else "baseline",
        }
        met.setdefault(unit, set()).add(version)
    assert all(len(versions) == 1 for versions in met.values())
    assert set().union(*met.values()) == {"old", "new"}


def test_requests_without_a_unit_go_by_the_weights_and_unchanged(proxy):
    proxy.route(proxy.addresses, {"new": 1.0}, SPLIT)
    document = {"instances": [{"age": 1}], "parameters": {"segment": "eu"}}
    assert ask(proxy, document) == ("new", document)
    proxy.route(proxy.addresses, {"old": 1.0})
    document = {"instances": [{}], "parameters": {"unit": "account-1"}}
    assert ask(proxy, document) == ("old", document)
