#!/bin/sh
# Makes module tables and initramfs for KERNEL, the image's one kernel, where bootc looks for them; then removes
# what package managers and generators left behind.
# TIMESTAMP: seconds since the epoch that stand for now.
set -eu
# Else the accounts that dracut makes in the initramfs bear the day of the build.
[ -z "${TIMESTAMP:-}" ] || export SOURCE_DATE_EPOCH="$TIMESTAMP"

set -- /usr/lib/modules/*/
if [ "$#" -ne 1 ] || [ "$1" != "/usr/lib/modules/$KERNEL/" ] || [ ! -e "$1/vmlinuz" ]; then
    echo "error: expected exactly the kernel $KERNEL in /usr/lib/modules, found: $*" >&2
    exit 1
fi
# Both for this kernel by name: uname -r is the build machine's.
depmod -a "$KERNEL"
# Without the ostree module an image-based host cannot find its root. Only an upstream that is no bootc image
# lacks it.
ostree=
! dracut --list-modules --kver "$KERNEL" 2> /dev/null | grep -qx ostree || ostree="--add ostree"
# The kernel's extended attributes cannot be kept in a container build, and dracut says so for every file.
export DRACUT_NO_XATTR=1
# shellcheck disable=SC2086 # two words or none
dracut --force --no-hostonly --reproducible $ostree --kver "$KERNEL" "/usr/lib/modules/$KERNEL/initramfs.img"
chmod 0644 "/usr/lib/modules/$KERNEL/initramfs.img"

# Links of kernel-core to a kernel-devel that is not here, and must not be.
rm -f "/usr/lib/modules/$KERNEL/build" "/usr/lib/modules/$KERNEL/source"

dnf clean all
find /boot -mindepth 1 -delete
rm -rf /var/cache/dnf /var/cache/libdnf5 /var/lib/dnf /var/cache/ldconfig/aux-cache
find /var/log -mindepth 1 ! -type d -delete
find /tmp /var/tmp -mindepth 1 -delete
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed
: > /etc/machine-id
