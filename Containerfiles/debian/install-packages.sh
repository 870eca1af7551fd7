#!/bin/sh
# Makes KERNEL the only kernel of the image and installs the base's packages.
# KERNEL: release; KERNEL_PACKAGES: packages that bring it; PACKAGES: utility packages, package=version where pinned.
# TIMESTAMP: seconds since the epoch that stand for now.
set -eu
# Else a new account's line in /etc/shadow bears the day of the build.
[ -z "${TIMESTAMP:-}" ] || export SOURCE_DATE_EPOCH="$TIMESTAMP"
export DEBIAN_FRONTEND=noninteractive
# The initramfs is made once, at the end, for the pinned kernel.
export INITRD=No

# The image is written out as a whole at the end; a sync for each unpacked file only costs time.
apt_get() {
    apt-get -q -y -o Dpkg::Options::=--force-unsafe-io "$@"
}

apt-get update -q
if [ ! -e "/usr/lib/modules/$KERNEL/vmlinuz" ]; then
    # The metapackage would pull the newest kernel in again, so it goes with the old ones.
    others=$(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' 'linux-image-*' | awk '$2 == "ii" {print $1}')
    # shellcheck disable=SC2086
    apt_get install --no-install-recommends $KERNEL_PACKAGES
    # shellcheck disable=SC2086
    [ -z "$others" ] || apt_get purge $others
    for directory in /usr/lib/modules/*; do
        # Files that the package does not know (vmlinuz, initramfs.img, depmod's tables) stay behind.
        [ "$directory" = "/usr/lib/modules/$KERNEL" ] || rm -rf "$directory"
    done
fi
# shellcheck disable=SC2086
[ -z "${PACKAGES:-}" ] || apt_get install --no-install-recommends $PACKAGES
