#!/bin/sh
# Installs what every module stage needs: DKMS and compiler.
set -eu
. /run/dnf.sh

# DKMS would sign with a key it makes up on the spot, which no machine trusts and no second build repeats.
mkdir -p /etc/dkms/framework.conf.d
echo 'sign_file="/nonexistent"' > /etc/dkms/framework.conf.d/image.conf

repo_dnf install dkms gcc make
