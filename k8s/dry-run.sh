#!/usr/bin/env bash
# Applies every overlay to a real Kubernetes API server on this machine, as a server-side dry run: schemas, defaults,
# validation and pod security as a cluster has them, and nothing starts.
set -euo pipefail

kubernetes=v1.36.3
modules=v0.36.3  # of the repositories that Kubernetes is published in

usage() {
    cat <<HELP
usage: k8s/dry-run.sh [OVERLAY ...]        all of k8s/overlays if none is named

Needs kubectl, Go and etcd (Debian: golang, etcd-server). Builds kube-apiserver $kubernetes from the Go module proxy on
first use, which takes about ten minutes, and keeps it in \${XDG_CACHE_HOME:-~/.cache}/rtcef-model-factory.
HELP
}

die() { echo "dry-run.sh: $*" >&2; exit 1; }

case ${1-} in -h | --help) usage; exit ;; esac
for tool in kubectl go etcd openssl python3; do
    command -v $tool >/dev/null || die "needs $tool (see --help)"
done
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here"/overlays/*
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rtcef-model-factory
server=$cache/kube-apiserver-$kubernetes

build() {
    set -e
    local source=$work/build module
    mkdir -p "$source" "$cache"
    cd "$source"
    go mod init dry-run
    go mod edit -require "k8s.io/kubernetes@$kubernetes"
    # Kubernetes asks for its own repositories by path within its tree; their published versions are the same code.
    go mod download "k8s.io/kubernetes@$kubernetes"
    sed -n 's|^\t*\(k8s.io/[a-z-]*\) => ./staging/.*|\1|p' \
        "$(go list -m -f '{{.Dir}}' "k8s.io/kubernetes@$kubernetes")/go.mod" |
        while read -r module; do go mod edit -replace "$module=$module@$modules"; done
    printf 'package main\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver/app"\n\nfunc main() {}\n' >main.go
    go mod tidy
    go build -o "$server.$$" k8s.io/kubernetes/cmd/kube-apiserver
    mv "$server.$$" "$server"  # whole, or not there
}

work=$(mktemp -d)
children=()
cleanup() {
    [ ${#children[@]} -eq 0 ] || kill -KILL "${children[@]}" 2>/dev/null || true  # nothing in them is kept
    wait
    rm -rf "$work"
}
trap cleanup EXIT

if [ ! -x "$server" ]; then
    echo "dry-run.sh: building kube-apiserver $kubernetes; takes about ten minutes, once"
    build >"$work/build.log" 2>&1 &  # a process of its own: within `||` the shell would go on after a failure
    wait $! || { tail -n 20 "$work/build.log" >&2; die "kube-apiserver cannot be built"; }
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
clients=http://127.0.0.1:$(free_port)
peers=http://127.0.0.1:$(free_port)
api=$(free_port)

etcd --data-dir "$work/etcd" --listen-client-urls "$clients" --advertise-client-urls "$clients" \
    --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "default=$peers" \
    >"$work/etcd.log" 2>&1 &
children+=($!)

token=$(openssl rand -hex 16)
echo "$token,dry-run,dry-run,system:masters" >"$work/tokens.csv"
openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
"$server" --etcd-servers "$clients" --bind-address 127.0.0.1 --secure-port "$api" --cert-dir "$work/certificates" \
    --service-cluster-ip-range 10.0.0.0/24 --token-auth-file "$work/tokens.csv" --authorization-mode RBAC \
    --service-account-issuer https://localhost --service-account-key-file "$work/accounts.key" \
    --service-account-signing-key-file "$work/accounts.key" --disable-admission-plugins ServiceAccount \
    >"$work/apiserver.log" 2>&1 &
children+=($!)

kube() { kubectl --kubeconfig /dev/null --server "https://127.0.0.1:$api" --token "$token" --insecure-skip-tls-verify "$@"; }
for _ in $(seq 120); do
    kube get --raw /readyz >/dev/null 2>&1 && break
    { kill -0 "${children[0]}" && kill -0 "${children[1]}"; } 2>/dev/null || { tail -n 20 "$work"/*.log >&2; die "etcd or the API server ended"; }
    sleep 1
done
kube get --raw /readyz >/dev/null || { tail -n 20 "$work/apiserver.log" >&2; die "the API server is not ready"; }

for overlay; do
    echo "== $overlay, Kubernetes $kubernetes"
    kube apply --server-side --filename "$overlay/namespace.yaml" >/dev/null  # a dry run makes none, and needs it
    kubectl kustomize "$overlay" | kube apply --server-side --dry-run=server --warnings-as-errors --filename -
done
