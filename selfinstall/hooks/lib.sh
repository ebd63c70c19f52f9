# shellcheck shell=sh
# lib.sh: what the hooks share; sourced

# device_with VALUE FILE …: the device whose FILE in sysfs holds VALUE.
device_with() {
	value=$1
	shift
	for file; do
		[ -e "$file" ] || continue
		# A file without a newline at its end still counts.
		content=
		read -r content <"$file" || [ -n "$content" ] || continue
		if [ "$content" = "$value" ]; then
			device=${file%/*}
			printf '/dev/%s' "${device##*/}"
			return
		fi
	done
	return 1
}

# port NAME: the device of the named virtio-serial port.  Without udev there is
# no /dev/virtio-ports, and the node's number differs between machines.  The
# host names its ports some time after the driver was loaded, and nothing that a
# shell could wait for says so: ask again, for 20 s at most.
port() {
	tries=0
	while [ "$tries" -lt 400 ]; do
		device_with "$1" /sys/class/virtio-ports/*/name && return
		tries=$((tries + 1))
		sleep 0.05
	done
	echo "no virtio-serial port named $1" >&2
	return 1
}

# event KIND [JSON-MEMBER …]: one line to the host.
event() {
	line="{\"event\":\"$1\",\"hook\":\"$SELFINSTALL_HOOK\""
	shift
	for member; do line="$line,$member"; done
	printf '%s}\n' "$line" >"$EVENTS"
}

# ask: tell the host that this hook's moment has come, and wait until it answers.
ask() {
	# One descriptor for both: what arrives while nobody has the port open is lost.
	printf '{"event":"ask","hook":"%s"}\n' "$SELFINSTALL_HOOK" >&4
	read -r _ <&4
} 4<>"$EVENTS"

# progress DONE TOTAL UNIT
progress() {
	event progress "\"done\":$1" "\"total\":$2" "\"unit\":\"$3\""
}

# disk SERIAL: the device of the disk with that serial; never by order.
disk() {
	device_with "$1" /sys/block/*/serial && return
	echo "no disk with the serial $1" >&2
	return 1
}

# partition DISK NUMBER: the device of a partition, whatever its name is made of.
partition() {
	device_with "$2" "/sys/block/${1##*/}/"*/partition && return
	echo "$1 has no partition $2" >&2
	return 1
}

# mount_esp: the EFI partition at its place in the new root.
mount_esp() {
	mount -t vfat -o umask=0077 "/dev/disk/by-uuid/$ESP_UUID" "/target$ESP_MOUNT"
}

# in_target PROGRAM [ARGUMENT …]: run natively in the new root with a plain environment.
in_target() {
	chroot /target /usr/bin/env -i PATH="${TARGET_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}" \
		HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		DEBCONF_NONINTERACTIVE_SEEN=true ${TARGET_APT_CONFIG:+APT_CONFIG="$TARGET_APT_CONFIG"} \
		${SOURCE_DATE_EPOCH:+SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH"} "$@"
}

# unsynced PROGRAM [ARGUMENT …]: in_target, where fsync does nothing: the image is written out at the
# end, and a disk whose build failed nobody wants.  Perl loads the filter (seccomp(2); prctl's 22 is
# PR_SET_SECCOMP, 2 a filter's mode); without it, or where the kernel knows none, fsync is fsync.
unsynced() {
	[ -x /target/usr/bin/perl ] || {
		in_target "$@"
		return
	}
	# shellcheck disable=SC2016,SC2086  # Perl's, words
	in_target perl -e 'my ($prctl, $filter) = splice @ARGV, 0, 2;
		my $code = pack "H*", $filter;
		syscall $prctl + 0, 22, 2, pack("S x![P] P", length($code) / 8, $code);
		exec { $ARGV[0] } @ARGV;
		warn "$ARGV[0]: $!\n";
		exit 127' $WITHOUT_FSYNC "$@"
}

# show_modules, hide_modules: the copies of a new kernel's modules that depmod reads, in the new
# root's /run/selfinstall/modules.
show_modules() {
	[ -d /payload/modules ] || return 0
	mkdir -p /target/run/selfinstall/modules
	mount --bind /payload/modules /target/run/selfinstall/modules
}
hide_modules() {
	[ ! -d /payload/modules ] || umount /target/run/selfinstall/modules
}

# The search path in which stand-ins come first.
# shellcheck disable=SC2034  # for hooks
STAND_INS=/run/selfinstall/stand-ins:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# stand_in PROGRAM …: put stand-ins, which do nothing but leave the wish wanted-PROGRAM, into
# the target's /run, which is memory.
stand_in() {
	mkdir -p /target/run/selfinstall/stand-ins
	for program; do
		# shellcheck disable=SC2016  # for the stand-in's shell
		printf '%s\n' '#!/bin/sh' \
			"case \${1-} in --version) echo 'initramfs-tools 0' ;; esac" \
			': >"/run/selfinstall/wanted-${0##*/}"' \
			>"/target/run/selfinstall/stand-ins/$program"
	done
	(cd /target/run/selfinstall/stand-ins && chmod 755 "$@")
}
