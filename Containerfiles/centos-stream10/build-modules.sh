#!/bin/sh
# Compiles one DKMS module set for KERNEL and leaves the .ko files, and nothing else, below /out.
# KERNEL: release; KERNEL_DEVEL: kernel-devel=version; PACKAGE: package=version with the DKMS source;
# MODULE: DKMS's name of it; MODULE_SET: the set's name, a folder below extra/.
set -eu
. /run/dnf.sh

# shellcheck disable=SC2046,SC2086
repo_dnf install $(specs $KERNEL_DEVEL)
# Without its scripts: they would compile at once, for the newest kernel DKMS sees or for uname -r, which is
# the build machine's. In a step of its own, because what it needs wants its scripts run.
# shellcheck disable=SC2046,SC2086
repo_dnf install --setopt=tsflags=nodocs,noscripts $(specs $PACKAGE)

# kernel-core owns this link, kernel-devel does not: a kernel that the image has not would have no headers.
mkdir -p "/usr/lib/modules/$KERNEL"
[ -e "/usr/lib/modules/$KERNEL/build" ] || ln -s "/usr/src/kernels/$KERNEL" "/usr/lib/modules/$KERNEL/build"
[ -e "/usr/lib/modules/$KERNEL/source" ] || ln -s build "/usr/lib/modules/$KERNEL/source"

set -- /usr/src/"$MODULE"-[0-9]*
if [ "$#" -ne 1 ] || [ ! -d "$1" ]; then
    echo "error: $PACKAGE left no single source of $MODULE in /usr/src: $*" >&2
    exit 1
fi
version=${1#/usr/src/"$MODULE"-}
# What is compiled, by digest: this line of the log goes into the provenance.
lines=$(cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
echo "pipeline: source of $MODULE $version is sha256:$(printf '%s\n' "$lines" | sha256sum | cut -d ' ' -f 1)"
# A kernel with debug information compiles its modules with it, and DKMS strips it: a sixth of the compiler's
# time for nothing. Only where vmlinux lies beside the headers Kbuild makes BTF of it, and fails without it.
[ -e "/usr/lib/modules/$KERNEL/build/vmlinux" ] || export KCFLAGS=-g0
[ -d "/var/lib/dkms/$MODULE/$version" ] || dkms add -m "$MODULE" -v "$version"
if ! dkms build -m "$MODULE" -v "$version" -k "$KERNEL"; then
    echo "--- make.log of $MODULE $version for $KERNEL"
    cat "/var/lib/dkms/$MODULE/$version/build/make.log" || true
    exit 1
fi

out=/out/usr/lib/modules/$KERNEL/extra/$MODULE_SET
mkdir -p "$out"
# DKMS also says yes when a declared range made it build nothing: then there is nothing to copy, and the
# manifest, made from the files, refuses.
[ ! -d "/var/lib/dkms/$MODULE/$version/$KERNEL" ] ||
    find "/var/lib/dkms/$MODULE/$version/$KERNEL" -name '*.ko*' -exec install -m 0644 -t "$out" {} +
