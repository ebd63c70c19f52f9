"""An image that somebody else made, adapted: packages, users, keys, console, hooks; a new file.

Where such a build differs from one out of a tarball is only where facts come from, and that
there is a disk already:

======== ======================================= ==========================================
step     tarball                                 image
======== ======================================= ==========================================
inspect  the tar stream, spooled                 a copy as a raw disk; its table by sfdisk
                                                 (:mod:`.table`), the root among its file
                                                 systems (:mod:`.systems`), that file system
                                                 read in place (:mod:`.ext`) as a tar stream
                                                 (:mod:`.stream`)
resolve  what an image lacks, and what is asked  what is asked for
plan     disk, loaders, hooks                    the same, then the disk, the hooks and the
                                                 settings of what is there
                                                 (:mod:`.planning`)
guest    20-partition 32-esp 34-root 65-…        none of these; 36-fill, 68-adopted-menu
         68-… 69-layer 70-grow
after    convert, verify, publish                the same
======== ======================================= ==========================================

Why a tar stream: everything behind inspection (dpkg's view, the initramfs's tree) reads an
uncompressed archive in place.  An archive that holds every name, but content only
where somebody looks, costs a second or two, and nothing behind it knows of images.
Why an own reader of ext and not debugfs: the file system is not trusted, names in it can
hold anything that debugfs would print as its own syntax, and all of the files are needed, not one
or two.  It never writes; the guest, whose kernel is the image's own, does.

The image is only read, and nothing of it runs on the host.  What runs in the guest is its
kernel, with the installer's init.  Its boot loader and kernel stay; the loader's menu
is made anew by the loader's own program.
"""
