"""One Perl that runs programs, each in a fork: they find what a process of their own finds."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

HOOKS = Path(str(files("selfinstall") / "hooks" / "files"))
#: Whatever a program may look at, but for its process number.
LOOK = """\
#!/usr/bin/perl
use strict;
use warnings;
use Getopt::Long;
use Cwd;
my $flag = '';
GetOptions('flag=s' => \\$flag);
print "$0 flag=$flag @{[map { \\"<$_>\\" } @ARGV]}\\n";
print "$_=$ENV{$_}\\n" for sort grep { /^(PATH|LC_ALL|ODD|EMPTY)$/ } keys %ENV;
printf "%s %04o\\n", getcwd(), umask;
print STDERR "to stderr\\n";
my $line = <STDIN>;
print 'read ', $line // 'nothing', "\\n";
exit 3;
"""


class Place:
    """Stand-ins, the programs behind them, and the server's folder."""

    def __init__(self, folder: Path) -> None:
        self.perl, self.stand_ins, self.programs = (
            folder / name for name in ("perl", "stand-ins", "programs")
        )
        for path in (self.perl, self.stand_ins, self.programs):
            path.mkdir()
        for name in ("ask", "answer"):
            os.mkfifo(self.perl / name)

    def program(self, text: str, name: str = "program") -> None:
        """A program, and its stand-in."""
        for path, content in (
            (self.programs / name, text),
            (self.stand_ins / name, (HOOKS / "selfinstall-perl-stand-in").read_text()),
        ):
            path.write_text(content)
            path.chmod(0o755)

    def run(self, *arguments: str, server: bool = True, **options: object) -> str:
        """Run the program by its stand-in, or by itself; its output, errors, status."""
        path = [str(self.programs), "/usr/bin", "/bin"]
        if server:
            path.insert(0, str(self.stand_ins))
        environment = {
            "PATH": ":".join(path),
            "LC_ALL": "C.UTF-8",
            "ODD": "two\nlines = 1",
            "EMPTY": "",
        }
        done = subprocess.run(
            ["program", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            executable=str((self.stand_ins if server else self.programs) / "program"),
            **{"env": environment, "input": "a line\n", **options},  # type: ignore[call-overload]
        )
        text = f"{done.stdout}{done.stderr}status {done.returncode}\n"
        # The one difference that is meant.
        return text.replace(f"{self.stand_ins}:", "")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    server = subprocess.Popen(
        ["perl", HOOKS / "selfinstall-perl", place.perl],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        assert server.stdout.readline() == "", "it keeps what it told that by"
        yield place
        if server.poll() is None:
            (place.perl / "ask").write_text("end\n")
        assert server.wait(timeout=30) == 0
        assert not (place.perl / "busy").exists()
    finally:
        server.kill()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


@pytest.fixture
def forks(place: Place) -> Callable[[], int]:
    """How many programs have been run by the server: they append to a file when they are."""
    log = place.perl.parent / "runs"
    log.touch()
    place.program(
        f"""#!/usr/bin/perl
open my $log, '>>', '{log}'; print $log getppid(), "\\n"; close $log;
exit 0;
"""
    )

    def count() -> int:
        # A stand-in that starts the program becomes it, and is the test's own child.
        return sum(line != str(os.getpid()) for line in log.read_text().split())

    return count


@pytest.mark.parametrize(
    "arguments",
    [(), ("a", "b c", ""), ("--flag", "x", "--", "--flag"), ("line\nbreak", "ä", "$x `y` \\z")],
)
def test_a_program_finds_what_it_finds_alone(
    place: Place, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    place.program(LOOK)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    options = {"cwd": elsewhere, "umask": 0o027}
    by_server = place.run(*arguments, **options)
    assert by_server == place.run(*arguments, server=False, **options)
    assert "status 3" in by_server and "read a line" in by_server and "to stderr" in by_server


@pytest.mark.parametrize(
    "end",
    [
        "exit 0;",
        "exit 77;",
        "1;",
        'die "dead\\n";',
        "die 'dead';",
        "END { print qq(end\\n) } exit 4;",
        "BEGIN { exit 5 }",
        "warn 'warned'; undef;",
        "print <DATA>; exit 6;\n__DATA__\ndata\n",
        "$? = 1;",
        "$! = 2; die 'no';",
    ],
)
def test_it_ends_as_it_ends_alone(place: Place, end: str) -> None:
    place.program(f"#!/usr/bin/perl\nuse strict; use warnings;\nprint qq(begun\\n);\n{end}\n")
    assert place.run() == place.run(server=False)


def test_a_program_that_is_none_fails(place: Place) -> None:
    place.program("#!/usr/bin/perl\nuse strict;\nthis is no perl\n")
    by_server = place.run()
    assert "syntax error" in by_server and "status 255" in by_server


def test_a_signal_is_told(place: Place) -> None:
    place.program("#!/usr/bin/perl\nkill 'KILL', $$; sleep 9;\n")
    assert "status 137" in place.run()


def test_output_is_added_to_a_file(place: Place, tmp_path: Path) -> None:
    place.program("#!/usr/bin/perl\nprint qq(by it\\n);\n")
    target = tmp_path / "output"
    for _ in range(2):
        with target.open("a") as stream:
            stream.write("before\n")
            stream.flush()
            subprocess.run(
                [place.stand_ins / "program"],
                stdout=stream,
                check=True,
                env={"PATH": f"{place.stand_ins}:{place.programs}:/usr/bin"},
            )
    assert target.read_text() == "before\nby it\n" * 2


def test_it_is_run_by_the_server(place: Place, forks: Callable[[], int]) -> None:
    assert place.run() == place.run() == "status 0\n"
    assert forks() == 2
    place.run(server=False)
    assert forks() == 2


@pytest.mark.parametrize(
    "text",
    [
        "#!/usr/bin/perl -w\nprint $^W;\n",
        "#!/usr/bin/perl\nprint 'not called' unless caller;\n",
        '#!/bin/sh\necho shell "$@"\n',
        "#! /usr/bin/env perl\nprint 'env';\n",
    ],
)
def test_what_a_fork_cannot_stand_for_is_started(place: Place, text: str) -> None:
    place.program(text)
    assert place.run("x") == place.run("x", server=False)


def test_a_socket_for_output_is_kept(place: Place) -> None:
    """Nobody can open it by its name."""
    place.program("#!/usr/bin/perl\nprint qq(hello\\n);\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run(
            [place.stand_ins / "program"],
            stdout=theirs,
            check=True,
            env={"PATH": f"{place.stand_ins}:{place.programs}:/usr/bin"},
        )
        assert ours.recv(100) == b"hello\n"


def test_what_a_program_calls_is_run_too(place: Place) -> None:
    """While the server has something to do, stand-ins start programs by themselves."""
    place.program("#!/usr/bin/perl\nprint qq(inner @ARGV\\n); exit 9;\n", "inner")
    place.program("#!/usr/bin/perl\n$| = 1; print qq(outer\\n); exit(system('inner', 'x') >> 8);\n")
    assert place.run() == "outer\ninner x\nstatus 9\n"


def test_a_missing_program_is_told(place: Place) -> None:
    place.program(LOOK)
    (place.programs / "program").unlink()
    found = place.run()
    assert "not found" in found and "status 127" in found


def test_stand_ins_stay_in_the_path_of_what_is_started(place: Place) -> None:
    """What kernels' hooks call is to be stood in for, too."""
    place.program("#!/bin/sh\nprintf '%s\\n' \"${PATH%%:*}\"\n")
    done = subprocess.run(
        [place.stand_ins / "program"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{place.stand_ins}:{place.programs}:/usr/bin:/bin"},
    )
    assert done.stdout == f"{place.stand_ins}\n"


def test_the_mark_of_being_busy_is_gone_before_the_answer(place: Place) -> None:
    place.program("#!/usr/bin/perl\nexit 0;\n")
    for _ in range(20):
        assert place.run() == "status 0\n"
        assert not (place.perl / "busy").exists()
    assert stat.S_ISFIFO((place.perl / "ask").stat().st_mode)
