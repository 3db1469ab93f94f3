#!/bin/sh
# Installs a minimal Metrion with its servers into kubectl's current cluster. May be run again.
# IMAGE: the image built by `make image`; NAMESPACE: the target namespace; ARGS: additional arguments for Helm.
set -eu
here=$(dirname "$0")
namespace=${NAMESPACE:-metrion}
image=${IMAGE:?not set: use make kube}

for tool in kubectl helm python3; do
	command -v "$tool" > /dev/null || { echo "$tool is required" >&2; exit 1; }
done

# 1. Load the image onto the nodes, which have no registry to pull it from.
context=$(kubectl config current-context)
saved() { "${BUILDER:-docker}" save "$image"; }
case $context in
kind-*) kind load docker-image "$image" --name "${context#kind-}" ;;
k3d-*) k3d image import "$image" --cluster "${context#k3d-}" ;;
minikube) minikube image load "$image" ;;
*)
	if command -v k3s > /dev/null; then
		saved | sudo k3s ctr images import -
	else
		echo "$context is not kind, k3d, minikube or k3s: its nodes must be able to pull $image" >&2
	fi
	;;
esac

# 2. Create namespace and secret; an existing secret is kept, because the servers' data were created with its passwords.
kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"
kubectl get secret metrion --namespace "$namespace" > /dev/null 2>&1 ||
	python3 "$here/values/passwords.py" | kubectl create --namespace "$namespace" --filename -

# 3. Install NATS, ClickHouse and Metrion.
# shellcheck disable=SC2086 # word splitting is intended
helm upgrade --install metrion "$here/charts/metrion" --namespace "$namespace" \
	--values "$here/charts/metrion/values-examples/dev.yaml" \
	--set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --wait --timeout 10m ${ARGS:-}

cat << END

Create an account and a token (shown once), and forward the gateway to http://127.0.0.1:8080:
  kubectl -n $namespace exec deployment/metrion-cli -- python -m services.cli account create default
  kubectl -n $namespace exec deployment/metrion-cli -- python -m services.cli token create --name me
  kubectl -n $namespace port-forward service/metrion-gateway 8080
END
