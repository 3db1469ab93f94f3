#!/bin/sh
# The images of `make image-check` in podman's storage: a base, Metrion's own on it, and stand-ins for NATS and ClickHouse.
# Needs root and: buildah podman runc netavark aardvark-dns debootstrap. BUILD_ARGS are passed to every build, as by `make image`.
set -eu
here=$(dirname "$0")
cd "$here/../.."
export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot CONTAINERS_CONF="$PWD/$here/containers.conf"
base=localhost/metrion-check-base
podman image exists "$base" || "$here/base.sh" "$base"

build() { # shellcheck disable=SC2086 # words on purpose
	buildah build --quiet --layers --network host --build-arg BASE="$base" ${BUILD_ARGS:-} "$@" . > /dev/null
}

build -t localhost/metrion-check -f deploy/docker/Dockerfile
for server in nats clickhouse; do
	build --ignorefile "$here/ignored" --target "$server" -t "localhost/metrion-check-$server" -f "$here/Dockerfile"
done
