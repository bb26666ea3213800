#!/usr/bin/env bash
# Judges the proposals of one pull request: ci/verify.sh refs/pull/7/head
# It needs no secret, changes nothing, and runs nothing of what the pull request brings.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
request=${1:?names the reference of the pull request}

need_quipu
clone_registry "$work/registry.git"
files_of_request "$request" "$work/request" >"$work/files"
mapfile -t files <"$work/files"
if [ ${#files[@]} = 0 ]; then
  echo "no proposal in $request"
  exit 0
fi
quipu registry check "$work/registry.git" "${files[@]}"
