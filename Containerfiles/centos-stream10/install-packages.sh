#!/bin/sh
# Makes KERNEL the only kernel of the image and installs the base's packages.
# KERNEL: release; KERNEL_PACKAGES: packages that bring it, package=version; PACKAGES: utility packages and
# userspace, package=version where pinned; STAND_INS: packages that provide userspace's "kmod" dependency;
# TIMESTAMP: seconds since the epoch that stand for now.
set -eu
# Else new accounts in /etc/shadow and the package database bear the time of the build.
[ -z "${TIMESTAMP:-}" ] || export SOURCE_DATE_EPOCH="$TIMESTAMP"
. /run/dnf.sh

if [ ! -e "/usr/lib/modules/$KERNEL/vmlinuz" ]; then
    others=$(rpm -qa --qf '%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}\n' \
        kernel kernel-core kernel-modules kernel-modules-core kernel-modules-extra)
    # Kernel packages are "installonly", so the pinned one comes beside the old one even when it is older.
    # Without scripts: they would make an initramfs and boot entries that the last stage makes anyway, for
    # this kernel by name.
    # shellcheck disable=SC2046,SC2086
    repo_dnf install --setopt=tsflags=nodocs,noscripts $(specs $KERNEL_PACKAGES)
    # protect_running_kernel looks at uname -r, which is the build machine's kernel; nothing else that the
    # removal orphans may go, because the new kernel needs the same firmware and dracut.
    # shellcheck disable=SC2086
    [ -z "$others" ] || repo_dnf remove --setopt=tsflags=noscripts --setopt=protect_running_kernel=False \
        --setopt=protected_packages= --setopt=clean_requirements_on_remove=False $others
    for directory in /usr/lib/modules/*; do
        # Files that the package does not know (initramfs.img, depmod's tables) stay behind.
        [ "$directory" = "/usr/lib/modules/$KERNEL" ] || rm -rf "$directory"
    done
fi

# Userspace requires its module as a package (zfs: zfs-kmod, nvidia-driver: nvidia-kmod), which on EL is the
# DKMS package with compiler and kernel-devel in tow. The modules of this image come from the builder stages,
# so while the packages are installed the database alone is told that the DKMS package were there: no file of
# it is laid down, no script run, and the entry goes again.
# shellcheck disable=SC2086 # words
stand_in() {
    for package in ${STAND_INS:-}; do
        for word in ${PACKAGES:-} "$package="; do
            version=${word#*=}
            [ "$word" != "$version" ] || continue
            spec=$package${version:+-$version}
            location=$(repo_dnf -q repoquery --available --latest-limit 1 --location "$spec" |
                grep -m 1 :) || continue
            curl -fsSL --retry 3 -o "/run/stand-in-$package.rpm" "$location"
            rpm -i --justdb --nodeps --noscripts --notriggers --nosignature "/run/stand-in-$package.rpm"
            rm -f "/run/stand-in-$package.rpm"
            echo "$package"
            break
        done
    done
}
if [ -n "${PACKAGES:-}" ]; then
    lent=$(stand_in)
    # shellcheck disable=SC2046,SC2086
    repo_dnf install $(specs $PACKAGES)
    # shellcheck disable=SC2086
    [ -z "$lent" ] || rpm -e --justdb --nodeps --noscripts --notriggers $lent
fi
