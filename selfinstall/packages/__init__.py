"""Packages that the tarball lacks: resolved and downloaded by the host's apt for the target."""
