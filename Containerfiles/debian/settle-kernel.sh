#!/bin/sh
# Puts the image's one kernel where bootc looks for it: vmlinuz and initramfs.img in /usr/lib/modules/<kernel>,
# nothing in /boot; then removes what package managers and generators left behind.
# KERNEL: the release that must be the only one; unset: whatever single kernel the tree has.
# TIMESTAMP: seconds since the epoch that stand for now.
set -eu
# Else the accounts that dracut makes in the initramfs bear the day of the build.
[ -z "${TIMESTAMP:-}" ] || export SOURCE_DATE_EPOCH="$TIMESTAMP"

for image in /boot/vmlinuz-*; do
    [ -e "$image" ] || continue
    release=${image#/boot/vmlinuz-}
    mv "$image" "/usr/lib/modules/$release/vmlinuz"
    [ ! -e "/boot/config-$release" ] || mv "/boot/config-$release" "/usr/lib/modules/$release/config"
done
find /boot -mindepth 1 -delete
rm -f /vmlinuz /vmlinuz.old /initrd.img /initrd.img.old

set -- /usr/lib/modules/*/vmlinuz
if [ "$#" -ne 1 ] || [ ! -e "$1" ]; then
    echo "error: expected exactly one kernel in /usr/lib/modules, found: $*" >&2
    exit 1
fi
directory=${1%/vmlinuz}
release=${directory##*/}
if [ -n "${KERNEL:-}" ] && [ "$release" != "$KERNEL" ]; then
    echo "error: the image has kernel $release, the pin says $KERNEL" >&2
    exit 1
fi
# Both for this kernel by name: uname -r is the build machine's.
depmod -a "$release"
dracut --force --no-hostonly --kver "$release" "$directory/initramfs.img"
chmod 0644 "$directory/initramfs.img"

# Identities that packages made up while they were installed; a host makes its own.
rm -f /etc/hostid /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /var/lib/systemd/random-seed
: > /etc/machine-id

apt-get clean
find /var/lib/apt/lists -mindepth 1 -delete
find /var/log /tmp /var/tmp -mindepth 1 ! -type d -delete
find /tmp /var/tmp -mindepth 1 -delete
rm -f /var/cache/apt/*.bin /var/cache/debconf/*-old /usr/lib/sysimage/dpkg/*-old /var/cache/ldconfig/aux-cache
rm -rf /etc/.pwd.lock /var/lib/systemd/catalog/database
