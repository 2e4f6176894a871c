#!/bin/bash
# What `make demo` shows: demo.sh KILN DIR. Needs no registry and leaves everything in DIR.
set -euo pipefail
kiln=$(realpath "$1") dir=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir" && dir=$(cd "$dir" && pwd)
export KILN_ROOT=$dir/store

say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "${*//$kiln/kiln}"; "$@"; }

say "A base image of busybox, without any registry"
root=$dir/busybox
rm -rf "$root" && mkdir -p "$root"/{bin,etc,proc,sys,dev,root,usr/bin,var} && mkdir -m 1777 "$root/tmp"
install -m 755 "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
tar --numeric-owner --owner=0 --group=0 -C "$root" -cf "$dir/busybox.tar" .
show "$kiln" import --change 'CMD ["/bin/sh"]' "$dir/busybox.tar" busybox

say "Build examples/hello: two stages, RUN, COPY, .dockerignore"
show "$kiln" build --tag hello "$here/hello"

say "Once more: nothing has changed, so nothing runs"
show "$kiln" build --tag hello "$here/hello"

say "Export it as an OCI tar, for any other tool"
show "$kiln" build --output "type=oci,dest=$dir/hello.tar" "$here/hello"
ls -l "$dir/hello.tar"

say "Run it"
show "$kiln" run --rm hello
