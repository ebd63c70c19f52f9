# shellcheck shell=sh
# What the peers share; read with ".".  Each peer runs in a mount namespace of
# its own (see private_mounts), so that no mount can outlive it.

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# private_mounts "$@": run this script again in its own mount namespace, unless it does already.
private_mounts() {
    [ "${BENCH_PRIVATE_MOUNTS-}" != yes ] || return 0
    BENCH_PRIVATE_MOUNTS=yes exec unshare --mount --propagation private -- "$0" "$@"
}

# attach IMAGE: sets loop to a loop device of it.
attach() {
    loop=$(losetup --find --show "$1")
    # What a former image of this device left is none of ours.
    partx --delete "$loop" 2>/dev/null || :
}

# partitions: device nodes for what the partition table on $loop says.  Not losetup's
# --partscan: some kernels are built without GPT, and partx reads it by itself.
partitions() {
    partx --update "$loop"
}

# detach: undo attach and partitions.
detach() {
    [ -n "${loop-}" ] || return 0
    partx --delete "$loop" 2>/dev/null || :
    losetup --detach "$loop"
    loop=
}

# link_by_uuid DEVICE LIST: /dev/disk/by-uuid/UUID for a file system, as udev makes it; where
# there is no udev, grub-mkconfig would name the root by the loop device. LIST remembers.
link_by_uuid() {
    uuid=$(blkid -c /dev/null -o value -s UUID "$1")
    [ ! -e "/dev/disk/by-uuid/$uuid" ] || return 0
    mkdir -p /dev/disk/by-uuid
    ln -sf "../../${1##*/}" "/dev/disk/by-uuid/$uuid"
    printf '%s\n' "$uuid" >>"$2"
}

# unlink_by_uuid LIST
unlink_by_uuid() {
    [ -e "$1" ] || return 0
    while read -r uuid; do rm -f "/dev/disk/by-uuid/$uuid"; done <"$1"
    rmdir --ignore-fail-on-non-empty -p /dev/disk/by-uuid 2>/dev/null || :
}

# has_vfat: whether the kernel can mount an ESP.
has_vfat() {
    modprobe -q vfat 2>/dev/null || :
    grep -qw vfat /proc/filesystems
}

# mount_esp DEVICE FOLDER: by the kernel, or by fusefat where the kernel has no FAT.
# fusefat stays in the foreground, so that its end tells that all is written, and gets
# the device as its name, since grub-install looks for the file system's device.
mount_esp() {
    if has_vfat; then
        mount -t vfat -o umask=0077 "$1" "$2"
        return
    fi
    command -v fusefat >/dev/null || fail 'this kernel has no vfat, and there is no fusefat'
    fusefat -f -o "rw+,fsname=$1" "$1" "$2" >/dev/null 2>&1 &
    fusefat=$!
    until mountpoint -q "$2"; do
        kill -0 "$fusefat" || fail "fusefat could not mount $1"
        sleep 0.01
    done
}

# umount_esp FOLDER
umount_esp() {
    umount "$1"
    if [ -n "${fusefat-}" ]; then
        wait "$fusefat"
        fusefat=
    fi
}

# mount_helper FOLDER: lets mount(8) itself mount FAT by fusefat, in this mount
# namespace only: a mount.vfat in a layer over /usr/sbin.
mount_helper() {
    command -v fusefat >/dev/null || fail 'this kernel has no vfat, and there is no fusefat'
    helpers=$1/helpers
    mkdir "$helpers"
    cat >"$helpers/mount.vfat" <<-'END'
	#!/bin/sh
	# mount.vfat DEVICE FOLDER [-o OPTIONS]
	set -eu
	fusefat -f -o "rw+,fsname=$1" "$1" "$2" >/dev/null 2>&1 </dev/null &
	echo "$!" >>"$BENCH_FUSE_PIDS"
	until mountpoint -q "$2"; do
	    kill -0 "$!" || exit 32
	    sleep 0.01
	done
	END
    chmod 755 "$helpers/mount.vfat"
    export BENCH_FUSE_PIDS="$1/fuse-pids"
    : >"$BENCH_FUSE_PIDS"
    mount -t overlay -o "lowerdir=$helpers:/usr/sbin" overlay /usr/sbin
}

# helpers_end: wait until what mount_helper's mounts had to write is written.
helpers_end() {
    [ -s "${BENCH_FUSE_PIDS-}" ] || return 0
    while read -r pid; do
        while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
    done <"$BENCH_FUSE_PIDS"
}
