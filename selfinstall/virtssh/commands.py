"""The commands of the setup script: what autopkgtest-virt-ssh(1) calls them, and does with them.

Each returns the lines for standard output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import selfinstall
from selfinstall import boot, inputs
from selfinstall.errors import GuestFailed, HostError, InputError, UsageError
from selfinstall.host import require_program
from selfinstall.keptlog import kept
from selfinstall.packages.cache import default_folder
from selfinstall.qemu.console import clean
from selfinstall.qemu.usernet import LOOPBACK
from selfinstall.request import Accel
from selfinstall.seed import Seed
from selfinstall.virtssh import control, state
from selfinstall.virtssh.keeper import Job
from selfinstall.virtssh.state import State

#: What a machine in an overlay can do (README.virtualisation-server); that commands run as
#: root, autopkgtest-virt-ssh finds out by itself for other logins.
CAPABILITIES = ("isolation-machine", "reboot", "revert", "revert-full-system")
ROOT = "root"
#: MiB; as autopkgtest-virt-qemu has it.
MEMORY = 2048
#: Seconds for one login, after which it is left to autopkgtest to try again.
_LOGIN = 300.0
#: Bytes of console that debug-failure shows.
_TAIL = 16 << 10


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the script is called with.

    :param image: None where a command does without.
    :param identity: the private key; None for the user's own, or with a seed for a new one.
    :param login: the user to log in as.
    :param cloud_seed: give the key to cloud-init.
    :param state: :attr:`State.word` of an opened machine.
    """

    image: Path | None = None
    identity: Path | None = None
    login: str = ROOT
    cloud_seed: bool = False
    state: str | None = None
    arch: str | None = None
    firmware: str | None = None
    accel: Accel = "auto"
    memory: int | None = None
    smp: int | None = None
    qemu: Path | None = None
    stall: float | None = None


def open_(options: Options) -> list[str]:
    """Start a machine; return when its ssh server answers and takes the key.

    :raises UsageError: no image was named.
    :raises InputError: image or key cannot be used.
    :raises HostError: the host lacks qemu, firmware or space.
    :raises BootFailed: the image does not boot, or has no ssh server.
    """
    if options.image is None:
        raise UsageError("no IMAGE given", "selfinstall-virt-ssh open IMAGE")
    if options.identity is not None:
        _check_key(options.identity)
    made = boot.prepare(
        options.image.absolute(),
        arch=options.arch,
        firmware=options.firmware,
        memory=options.memory or MEMORY,
        smp=options.smp,
        qemu=options.qemu,
        forwards=(),
    )
    with _new_state() as own:
        identity = options.identity.absolute() if options.identity else None
        if options.cloud_seed:
            identity = identity or _new_key(own)
            made = dataclasses.replace(made, seed=_seed(own, identity))
        job = Job(
            boot=made,
            wanted=options.accel,
            stall=options.stall,
            cache=default_folder(os.environ),
        )
        with _keeper(own, job):
            port = control.send(own.control, "wait")
            assert port is not None
            if not options.cloud_seed:
                # cloud-init may bring the key after the server has come up.
                _log_in(options.login, identity, port)
    capabilities = CAPABILITIES + (("root-on-testbed",) if options.login == ROOT else ())
    return [
        f"login={options.login}",
        f"hostname={LOOPBACK}",
        f"port={port}",
        *([f"identity={identity}"] if identity else []),
        f"capabilities={','.join(capabilities)}",
        f"extraopts=--state={own.word}",
    ]


def cleanup(options: Options) -> list[str]:
    """End the machine, if it still runs; of one that never came up nothing is left anyway."""
    if options.state is not None:
        own = state.find(options.state)
        # What is gone needs no ending.
        with contextlib.suppress(HostError, FileNotFoundError):
            control.send(own.control, "quit")
        own.remove()
    return []


def revert(options: Options) -> list[str]:
    """Begin anew with the image as it is; the port is another one.

    :raises SelfinstallError: as of :func:`open_`.
    """
    return [f"port={control.send(_opened(options).control, 'revert')}"]


def wait_reboot(options: Options) -> list[str]:
    """Wait until the machine has restarted and its ssh server answers.

    :raises SelfinstallError: as of :func:`open_`.
    """
    control.send(_opened(options).control, "wait-reboot")
    return []


def debug_failure(options: Options) -> list[str]:
    """What the console said last, for standard error; nothing for a machine that is gone."""
    if options.state is None:
        return []
    own = state.find(options.state)
    try:
        with own.console.open("rb") as stream:
            stream.seek(max(0, own.console.stat().st_size - _TAIL))
            text = clean(stream.read().decode(errors="replace"))
    except OSError:
        return []
    return [f"The console of the machine ({own.console}):", *filter(str.strip, text.split("\n"))]


COMMANDS: dict[str, Callable[[Options], list[str]]] = {
    "open": open_,
    "cleanup": cleanup,
    "revert": revert,
    "wait-reboot": wait_reboot,
    "debug-failure": debug_failure,
}


def _opened(options: Options) -> State:
    if options.state is None:
        raise UsageError("no machine is open", "open tells the --state that other commands need")
    own = state.find(options.state)
    if not own.folder.is_dir():
        raise UsageError(f"{own.folder} is gone: the machine was cleaned up")
    return own


@contextlib.contextmanager
def _new_state() -> Iterator[State]:
    """A state that stays if all goes well; of the console of a failure a copy is kept."""
    own = state.make()
    try:
        yield own
    except BaseException as error:
        if isinstance(error, GuestFailed):
            error.log = kept(own.console)
        own.remove()
        raise


@contextlib.contextmanager
def _keeper(own: State, job: Job) -> Iterator[None]:
    """Start the keeper; it outlives this process, unless something goes wrong here."""
    own.job.write_bytes(pickle.dumps(job))
    package = Path(selfinstall.__file__).parent.parent
    search = os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH", ""))))
    with control.listen(own.control) as listener, own.complaints.open("wb") as complaints:
        # In a session of its own, on no stream of ours: who reads these waits for their end.
        process = subprocess.Popen(
            (
                *(sys.executable, "-P", "-m", "selfinstall.virtssh.background"),
                *(str(own.folder), str(listener.fileno())),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": search},
        )
    try:
        yield
    except BaseException as error:
        process.terminate()
        process.wait()
        said = own.complaints.read_text(errors="replace").strip().splitlines()
        if said and isinstance(error, HostError):
            raise HostError(f"{error.message}: {said[-1]}") from error
        raise
    # It is not waited for: init inherits it.
    process.returncode = 0


def _check_key(path: Path) -> None:
    """Say what ssh would not: it passes over keys that it does not like.

    :raises InputError: *path* is no private key, or others can read it.
    """
    content = inputs.read_bounded(path, "identity")
    if b"PRIVATE KEY-----" not in content:
        hint = None
        if path.suffix == ".pub" and path.with_suffix("").is_file():
            hint = f"--identity {path.with_suffix('')}"
        raise InputError(f"{path} is no private ssh key", hint)
    status = path.stat()
    if status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) & 0o077:
        raise InputError(f"others can read {path}, so ssh will not use it", f"chmod go= {path}")


def _new_key(own: State) -> Path:
    program = require_program("ssh-keygen", "openssh-client")
    command = (program, "-q", "-t", "ed25519", "-N", "", "-C", "selfinstall", "-f", own.key)
    _checked(command)
    return own.key


def _seed(own: State, identity: Path) -> Path | None:
    """A seed with the public half of *identity*."""
    program = require_program("ssh-keygen", "openssh-client")
    public = _checked((program, "-y", "-P", "", "-f", identity))
    return boot.write_seed(Seed(ssh_keys=public), own.seed)


def _checked(command: tuple[str | Path, ...]) -> bytes:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        words = " ".join(done.stderr.decode(errors="replace").split())
        raise InputError(f"ssh-keygen: {words}")
    return done.stdout


def _log_in(login: str, identity: Path | None, port: int) -> None:
    """Log in once, since autopkgtest would try for minutes and then not say why it cannot.

    :raises InputError: the machine refuses the key.
    """
    program = shutil.which("ssh")
    if program is None:
        raise HostError("the program ssh is not installed", "sudo apt install openssh-client")
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
    command = [program, "-p", str(port), "-l", login]
    command += [word for option in options for word in ("-o", option)]
    command += ["-i", str(identity)] if identity else []
    try:
        done = subprocess.run(
            [*command, LOOPBACK, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOGIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return
    if done.returncode == 255 and b"Permission denied" in done.stderr:
        key = str(identity) if identity else "any of your keys"
        raise InputError(
            f"the machine does not let {login} in with {key}",
            "build the image with --ssh-key KEY.pub and give the private half by --identity KEY; "
            "for an image with cloud-init, --cloud-seed",
        )
