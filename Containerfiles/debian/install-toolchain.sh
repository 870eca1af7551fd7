#!/bin/sh
# Installs what every module stage needs: DKMS, compiler, and the package lists the stages install from.
set -eu
export DEBIAN_FRONTEND=noninteractive

# DKMS would build for every kernel it sees as soon as the package is configured, the build machine's among
# them, and would sign with a key it makes up on the spot. Neither is wanted.
mkdir -p /etc/dkms/framework.conf.d
touch /etc/dkms/no-autoinstall
echo 'sign_file="/nonexistent"' > /etc/dkms/framework.conf.d/image.conf

# Nobody needs a builder stage to survive a power cut: without a sync for each file it unpacks much faster.
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/image

apt-get update -q
apt-get install -q -y --no-install-recommends dkms gcc make
