"""The initramfs: the target's own modules, programs and libraries, our hooks, the payload."""
