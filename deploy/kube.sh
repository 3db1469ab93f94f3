#!/bin/sh
# Installs a small whole of Metrion, with its servers, into the cluster that kubectl points to. It can be run again.
# IMAGE is what `make image` built; NAMESPACE is where to; ARGS are more arguments of Helm.
set -eu
here=$(dirname "$0")
namespace=${NAMESPACE:-metrion}
image=${IMAGE:?make kube sets it}

for tool in kubectl helm python3; do
	command -v "$tool" > /dev/null || { echo "$tool is needed" >&2; exit 1; }
done

# 1. The image, onto the nodes where no registry has it.
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
		echo "$context is neither kind, k3d, minikube nor k3s: its nodes must be able to pull $image" >&2
	fi
	;;
esac

# 2. The namespace and the secret; a secret that is there stays, as the servers' data know its passwords.
kubectl get namespace "$namespace" > /dev/null 2>&1 || kubectl create namespace "$namespace"
kubectl get secret metrion --namespace "$namespace" > /dev/null 2>&1 ||
	python3 "$here/values/passwords.py" | kubectl create --namespace "$namespace" --filename -

# 3. NATS, ClickHouse and Metrion.
# shellcheck disable=SC2086 # words on purpose
helm upgrade --install metrion "$here/charts/metrion" --namespace "$namespace" \
	--values "$here/charts/metrion/values-examples/dev.yaml" \
	--set "image.repository=${image%:*}" --set "image.tag=${image##*:}" --wait --timeout 10m ${ARGS:-}

cat << END

An account, a token (shown once), and the gateway at http://127.0.0.1:8080:
  kubectl -n $namespace exec deployment/metrion-cli -- python -m services.cli account create default
  kubectl -n $namespace exec deployment/metrion-cli -- python -m services.cli token create --name me
  kubectl -n $namespace port-forward service/metrion-gateway 8080
END
