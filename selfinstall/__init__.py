"""selfinstall: from a Debian rootfs tarball to an image that boots by itself."""
