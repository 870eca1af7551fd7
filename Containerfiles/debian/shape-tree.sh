#!/bin/sh
# Turns a plain Debian tree into a bootc-shaped one: state lives in /var, the old places are links into it.
# LINKS: words of the form /path=target, from [persistence] links of the definition.
set -eu

# Identities of the machine that built the tree; every host makes its own at first boot. (hostname and
# resolv.conf cannot go here, the engine mounts its own over them: the bootstrap removes them.)
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub \
    /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
: > /etc/machine-id

# The package database belongs to the image, not to the host's state: /var is never updated by a new image.
mkdir -p /usr/lib/sysimage
if [ ! -L /var/lib/dpkg ]; then
    mv /var/lib/dpkg /usr/lib/sysimage/dpkg
    ln -s ../../usr/lib/sysimage/dpkg /var/lib/dpkg
fi

tmpfiles=/usr/lib/tmpfiles.d/image-persistence.conf
echo '# Targets of the links into /var; made on every boot where they are missing.' > "$tmpfiles"
mkdir -p /sysroot
for pair in ${LINKS:-}; do
    path=${pair%%=*}
    target=${pair#*=}
    parent=${path%/*}
    real=$(realpath -ms "${parent:-/}/$target")
    [ -L "$path" ] || rm -rf "$path"
    ln -sfn "$target" "$path"
    case $real in
        /var/roothome) mode=0700 ;;
        *) mode=0755 ;;
    esac
    case $real in
        /var/*)
            # Present in the image too, so that packages installed on top of it find their usual places.
            install -d -m "$mode" "$real"
            echo "d $real $mode root root -" >> "$tmpfiles"
            ;;
    esac
done
if [ -L /usr/local ]; then
    for sub in bin etc games include lib libexec sbin share src; do
        install -d "/var/usrlocal/$sub"
        echo "d /var/usrlocal/$sub 0755 root root -" >> "$tmpfiles"
    done
fi

# What systemd must know to treat the tree as read-only with writable /etc and /var.
mkdir -p /usr/lib/ostree
printf '[composefs]\nenabled = maybe\n[sysroot]\nreadonly = true\n' > /usr/lib/ostree/prepare-root.conf

# The initramfs serves every machine and is the same for the same packages.
mkdir -p /usr/lib/dracut/dracut.conf.d
cat > /usr/lib/dracut/dracut.conf.d/50-image.conf <<'CONF'
hostonly="no"
reproducible="yes"
compress="zstd"
add_dracutmodules+=" ostree "
omit_dracutmodules+=" plymouth "
CONF
