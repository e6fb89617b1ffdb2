#!/usr/bin/env bash
# Changes the number of pods. A recovery store belongs to one number of pods, so the new number begins with empty ones;
# the journals on the shared volume keep everything, and what was announced is not announced again.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: k8s/rescale.sh OVERLAY [KUBECTL OPTIONS, such as --context]

1. Change `replicas` in OVERLAY/kustomization.yaml.
2. kubectl scale statefulset/model-factory --replicas=0 --namespace NAMESPACE, and wait until all pods have ended.
3. Run this script: it deletes the pods' recovery stores in the overlay's namespace and applies OVERLAY. It refuses
   while pods run.
HELP
}

die() { echo "rescale.sh: $*" >&2; exit 1; }

if [ $# -lt 1 ] || [[ $1 == -* ]]; then
    usage >&2
    exit 2
fi
overlay=$1
shift
[ -f "$overlay/kustomization.yaml" ] || die "no overlay: $overlay has no kustomization.yaml"
selector=app.kubernetes.io/name=model-factory
namespace=$(sed -n 's/^namespace: *\([^ #]*\).*/\1/p' "$overlay/kustomization.yaml")
[ -n "$namespace" ] || die "$overlay/kustomization.yaml names no namespace"
set -- "$@" --namespace "$namespace"  # the last one counts: what is looked at is what is applied to

wanted=$(kubectl get statefulset model-factory --ignore-not-found -o 'jsonpath={.spec.replicas}' "$@")
[ "${wanted:-0}" = 0 ] || die "the StatefulSet wants $wanted pods: kubectl scale statefulset/model-factory --replicas=0 --namespace $namespace"
running=$(kubectl get pods --selector "$selector" -o name "$@")
[ -z "$running" ] || die "pods run; wait until they have ended:" $running

kubectl delete persistentvolumeclaims --selector "$selector,app.kubernetes.io/component=recovery" --wait=true "$@"
kubectl apply -k "$overlay" "$@"
