"""Driving qemu: its command line, process and channels, the guest's words, when to give up."""
