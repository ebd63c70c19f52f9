"""A seed for cloud-init: a small disk that tells a cloud image its name and who may log in.

NoCloud, by https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html:
an ISO 9660 file system labelled CIDATA with the files ``meta-data`` and ``user-data``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

from pycdlib import PyCdlib

from selfinstall.errors import HostError, InputError

LABEL = "CIDATA"
#: What cloud-init knows user-data by (its "User-data formats"); gzip may hold any of them.
HEADERS = (
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#cloud-boothook",
    b"#part-handler",
    b"## template: jinja",
    b"Content-Type:",
    b"MIME-Version:",
    b"From ",
    b"\x1f\x8b",
)
#: Without the user's own: root may log in with the keys, as in an image with ``--ssh-key``.
DEFAULT_USER_DATA = b"#cloud-config\ndisable_root: false\n"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Seed:
    """What a cloud image is told.

    :param user_data: in any of cloud-init's formats; None for no more than that root may
        log in with the keys.
    :param ssh_keys: public keys, one a line; for cloud-init's default user (and root).
    :param hostname: None to leave it.
    """

    user_data: bytes | None = None
    ssh_keys: bytes = b""
    hostname: str | None = None

    def files(self) -> dict[str, bytes]:
        """The seed's files by name; of equal seeds equal ones.

        cloud-init does its work once for each ``instance-id``, which is a hash of the rest.
        """
        user_data = DEFAULT_USER_DATA if self.user_data is None else self.user_data
        lines = self.ssh_keys.decode(errors="replace").splitlines()
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        meta: dict[str, object] = {"public-keys": keys} if keys else {}
        if self.hostname is not None:
            meta["local-hostname"] = self.hostname
        whole = json.dumps(meta, sort_keys=True).encode() + b"\0" + user_data
        meta["instance-id"] = f"selfinstall-{hashlib.sha256(whole).hexdigest()[:16]}"
        # JSON is YAML.
        text = json.dumps(meta, indent=1, sort_keys=True) + "\n"
        return {"meta-data": text.encode(), "user-data": user_data}


def check_user_data(content: bytes, path: Path) -> bytes:
    """*content* of *path*, when cloud-init will take notice of it.

    :raises InputError: it would not.
    """
    if not content.startswith(HEADERS):
        raise InputError(
            f"{path} is nothing that cloud-init knows as user-data",
            "its first line says what it is, such as #cloud-config or #!/bin/sh",
        )
    return content


def write(seed: Seed, target: Path) -> None:
    """Write the image of *seed* to *target*.

    :raises HostError: the place does not take the file.
    """
    image = PyCdlib()
    # Rock Ridge has the names for Linux; level 3 with Joliet is what everything reads.
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for name, content in seed.files().items():
        image.add_fp(
            io.BytesIO(content),
            len(content),
            iso_path=f"/{name.replace('-', '_').upper()}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
        )
    try:
        with target.open("wb") as stream:
            image.write_fp(stream)
    except OSError as error:
        raise HostError(f"cannot write {target}: {error.strerror}") from error
    finally:
        image.close()
