"""A GitLab that signs identity tokens, and publishes its keys on a server of its own."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from approvalkit import LATER, approval
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from pipeline.domain.decision import Decision, Method, Proof
from pipeline.domain.idtoken import TokenIssuer, audience_of

GITLAB = "https://gitlab.example.org"
ISSUER = TokenIssuer(
    issuer=GITLAB,
    audience="bootc-pipeline",
    projects=("os/images",),
    refs=("main",),
    environments=("release-approval",),
)
APPROVAL = approval("ben", proof=None)


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def jwk(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str = "first", **more: object) -> Any:
    public = key.public_key().public_numbers()
    if isinstance(public, rsa.RSAPublicNumbers):
        return {"kty": "RSA", "n": number(public.n), "e": number(public.e), "kid": kid, "use": "sig", **more}
    x, y = number(public.x, 32), number(public.y, 32)
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", **more}


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys or [jwk(rsa_key())]}).encode()


def claims_for(decision: Decision, **changes: object) -> dict[str, Any]:
    """What GitLab says of a job that Ben started a minute before the decision; None takes a claim away."""
    issued = int(LATER.timestamp()) - 60
    said = {
        "iss": GITLAB,
        "aud": audience_of("bootc-pipeline", decision),
        "sub": "project_path:os/images:ref_type:branch:ref:main",
        "iat": issued,
        "nbf": issued - 5,
        "exp": issued + 900,
        "jti": "5d1b",
        "project_path": "os/images",
        "pipeline_id": "77",
        "job_id": "1001",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
        "environment": "release-approval",
        "environment_protected": "true",
        "environment_action": "start",
        "user_id": "42",
        "user_login": "ben",
        "user_email": "ben@example.org",
    }
    return {key: value for key, value in {**said, **changes}.items() if value is not None}


def signed(
    claims: Mapping[str, Any],
    *,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes | None = None,
    **header: object,
) -> str:
    """A token, signed as its header says."""
    key = key or rsa_key()
    head = {"alg": "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256", "kid": "first"}
    said = {name: value for name, value in {**head, "typ": "JWT", **header}.items() if value is not None}
    text = ".".join(b64(json.dumps(part).encode()) for part in (said, dict(claims)))
    return f"{text}.{b64(_signature(text.encode(), key))}"


def _signature(data: bytes, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes) -> bytes:
    if isinstance(key, bytes):
        return hmac.new(key, data, hashlib.sha256).digest()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def proof_of(token: str, *, identity: str = "gitlab:ben", key: str = f"{GITLAB}#42") -> Proof:
    return Proof(method=Method.GITLAB, identity=identity, key=key, text=token)


Answer = Callable[[str], tuple[int, dict[str, str], bytes]]


@dataclass
class Publisher:
    """A running server: its address, what it answers to a path, and what it was asked."""

    url: str
    answer: Answer
    asked: list[str] = field(default_factory=list)


def publishing(keys: bytes) -> Answer:
    """What a GitLab answers, whose address is put in for `{url}`."""

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        if path == "/.well-known/openid-configuration":
            return 200, {}, b'{"issuer": "{url}", "jwks_uri": "{url}/oauth/discovery/keys"}'
        return (200, {}, keys) if path == "/oauth/discovery/keys" else (404, {}, b"")

    return answer


@contextlib.contextmanager
def serve(answer: Answer, certificate: Path | None = None) -> Iterator[Publisher]:
    """Serve on a free port of this machine; over TLS with a certificate (and its key in the same file)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            status, headers, body = found.answer(self.path)
            body = body.replace(b"{url}", found.url.encode())
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the reader may have had enough
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    found = Publisher(url=f"{scheme}://127.0.0.1:{server.server_address[1]}", answer=answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def certificate(folder: Path) -> Path:
    """A certificate for this machine that signs itself, with its key, in one file."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(ec_key().public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ec_key(), hashes.SHA256())
    )
    private = ec_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path
