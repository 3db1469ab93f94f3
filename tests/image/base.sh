#!/bin/sh
# A slim Python from Debian's own packages, as image $1, for machines that reach no registry. Needs root, debootstrap, podman.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$folder" > /dev/null
tar -C "$folder" -c . | podman import --quiet - "$1" > /dev/null
