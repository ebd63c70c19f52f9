"""The program's version, from its installed metadata."""

import importlib.metadata

VERSION = importlib.metadata.version("selfinstall")
