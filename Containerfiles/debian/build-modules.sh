#!/bin/sh
# Compiles one DKMS module set for KERNEL and leaves the .ko files, and nothing else, below /out. Runs on what
# install-toolchain.sh left.
# KERNEL: release; KERNEL_DEVEL: linux-headers package=version; PACKAGE: package with the DKMS source;
# MODULE: DKMS's name of it.
set -eu
export DEBIAN_FRONTEND=noninteractive

# shellcheck disable=SC2086 # KERNEL_DEVEL may hold several packages
INITRD=No apt-get install -q -y --no-install-recommends $KERNEL_DEVEL "$PACKAGE"

set -- /usr/src/"$MODULE"-[0-9]*
if [ "$#" -ne 1 ] || [ ! -d "$1" ]; then
    echo "error: $PACKAGE left no single source of $MODULE in /usr/src: $*" >&2
    exit 1
fi
version=${1#/usr/src/"$MODULE"-}
# What is compiled, by digest: this line of the log goes into the provenance.
lines=$(cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
echo "pipeline: source of $MODULE $version is sha256:$(printf '%s\n' "$lines" | sha256sum | cut -d ' ' -f 1)"
# DKMS strips the debug information, but it is no waste here: Debian's headers bring a vmlinux, so Kbuild makes
# the modules' BTF of it, and pahole refuses a module that was compiled with KCFLAGS=-g0.
if ! dkms build -m "$MODULE" -v "$version" -k "$KERNEL"; then
    echo "--- make.log of $MODULE $version for $KERNEL"
    cat "/var/lib/dkms/$MODULE/$version/build/make.log" || true
    exit 1
fi

# Debian names NVIDIA's files after its alternatives system (nvidia-current-open-drm.ko), which the image does
# not have: each gets the name it has as a module, so that `modprobe nvidia-drm` finds it.
out=/out/usr/lib/modules/$KERNEL/updates/dkms
mkdir -p "$out"
find "/var/lib/dkms/$MODULE/$version/$KERNEL" -name '*.ko*' | while read -r file; do
    name=$(modinfo -F name "$file" | tr _ -)
    install -m 0644 "$file" "$out/$name.ko${file##*.ko}"
done
