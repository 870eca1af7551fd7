"""A small line with one base, roles and hosts, written to a temporary folder for tests of hosts."""

from __future__ import annotations

from pathlib import Path

DIGEST = "sha256:" + "a" * 64
KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB2q4+46oxn9mWl76WD1TCE9OhRmtSyavKQCqdLc6VdR robin"

UPSTREAM = """\
package_manager = "apt"
[bootstrap]
suite = "trixie"
packages = ["systemd"]
containerfile = "upstream.Containerfile"
[kernel]
flavour = "amd64"
[persistence]
links = { "/home" = "var/home", "/usr/local" = "../var/usrlocal" }
"""
BASE = 'from = "debian-13"\ncontainerfile = "base.Containerfile"\n'
ROLE = f"""\
timezone = "Etc/UTC"
kargs = ["quiet"]
[groups.ops]
gid = 1900
sudo = ["ALL=(ALL:ALL) NOPASSWD: ALL"]
[users.robin]
uid = 1000
description = "Robin Example"
groups = ["ops"]
ssh_keys = ["{SSH}"]
[apps.envoy]
rootful = true
network = "host"
[apps.envoy.containers.proxy]
image = "docker.io/envoyproxy/envoy@{DIGEST}"
[trust]
allow = ["docker.io/envoyproxy/envoy", "quay.io/example"]
"""
HOST = f"""\
from = "base"
hostname = "web-1"
roles = ["server"]
kargs = ["mitigations=auto"]

[values]
port = 8080

[apps.web]
description = "100 % web"
uid = 2001
publish = ["127.0.0.1:8080:80"]
directories = {{ "/var/lib/web" = "750" }}
[apps.web.containers.server]
image = "quay.io/example/web:1@{DIGEST}"
exec = ["--title", "a b", "50%"]
environment = {{ MODE = "very quiet" }}
[apps.web.containers.server.secrets.web-key]
target = "key.pem"

[files."/etc/web/web.conf"]
template = "web.conf"
mode = "0640"
group = "web"
"""


def write(path: Path, text: str | bytes) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def make_tree(top: Path) -> Path:
    """Write the line and return its images folder."""
    images = top / "images"
    files = {
        "pipeline.toml": '[registry]\nurl = "registry.example.org/os"\n',
        "debian/upstream/debian-13.toml": UPSTREAM,
        "debian/base/base.toml": BASE,
        "debian/roles/server.toml": ROLE,
        "debian/hosts/web-1.toml": HOST,
        "debian/templates/web.conf": "listen {{ port }} on {{ hostname }}\n",
    }
    for name, text in files.items():
        write(images / name, text)
    for name in ("upstream", "base"):
        write(top / "Containerfiles" / "debian" / f"{name}.Containerfile", "FROM scratch\n")
    return images
