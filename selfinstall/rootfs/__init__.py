"""The rootfs tarball: read once as a stream, then at random in its decompressed form."""
