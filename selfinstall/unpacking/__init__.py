"""Packages unpacked on the host: what dpkg would leave after ``--unpack``, as tar archives.

In an emulated guest dpkg takes 2 ms for each file that it unpacks, tar a fifth of that.
So for packages where unpacking is no more than putting files in place, the host writes an
archive of their files as dpkg would name them, with dpkg's database beside them; the
guest's tar unpacks it and the guest's dpkg configures the packages.  All others go
through the guest's dpkg: :mod:`selfinstall.unpacking.rule` says which.

Sources of facts: deb(5), deb-conffiles(5), deb-triggers(5), dpkg(1) and the triggers
specification in dpkg's documentation; a boot test compares the outcome with dpkg's own.
"""
