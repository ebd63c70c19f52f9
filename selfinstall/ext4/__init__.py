"""The image's root, an ext4 file system that is made and filled on the host without being mounted.

::

    rootfs.tar ─▶ attributes ─▶ writer ─▶ inode, folders ─▶ library (libext2fs) ─▶ disk
                                   mke2fs before, e2fsck after: make

``mke2fs`` makes it and libext2fs, by ctypes, gives out its inodes and blocks; the kernel
copies the files' contents from the archive to those blocks.  ``mke2fs -d`` does the same, but
reads archives only from e2fsprogs 1.47.1 on, which Debian 12 has not; from folders it takes
the owners that an ordinary user's files have.  In an emulated guest, tar takes half a
millisecond a file for it (docs/performance.md).

Sources of facts: ext2fs.h, and Documentation/filesystems/ext4 of the kernel.
"""
