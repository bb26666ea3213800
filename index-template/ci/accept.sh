#!/usr/bin/env bash
# Judges proposals and publishes what holds: ci/accept.sh [OPEN]
# The proposals are those whose files are on main, because somebody merged them, and those of open pull requests where the package is known
# already. OPEN is a file with one open pull request a line: its number and its reference.
#
# OPERATOR_KEY  the key that makes checkpoints, or the path of its file
# PUSH_URL      where to push [default: REGISTRY_URL]
# SETTLED       a file that gets the numbers of the pull requests whose proposals are all published
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
open=${1:-/dev/null}

if [ -z "${OPERATOR_KEY:-}" ]; then
  echo "no operator's key is here: nothing is accepted"
  exit 0
fi
# One line feed at the end, however many the forge's form left.
key=$(if [ -f "$OPERATOR_KEY" ]; then cat "$OPERATOR_KEY"; else printf '%s' "$OPERATOR_KEY"; fi)
(umask 077 && printf '%s\n' "$key" >"$work/operator")
unset OPERATOR_KEY key
export QUIPU_KEY=$work/operator

# A refusal is an answer; everything else that fails is a failure.
accept() {
  local status=0
  quipu registry accept "$work/registry.git" --push "${PUSH_URL:-$REGISTRY_URL}" --json "$@" >"$work/answer" || status=$?
  cat "$work/answer"
  [ $status = 0 ] || { [ $status = 8 ] && grep -q '"outcomes":' "$work/answer"; }
}

need_quipu
clone_registry "$work/registry.git"
files_of_main "$work/registry.git" "$work/main" >"$work/files"
mapfile -t files <"$work/files"
accept ${files[@]+--from "${files[@]}"}

: >"$work/files"
while read -r number reference; do
  # A pull request that is none of ours is left to people.
  if files_of_request "$reference" "$work/request-$number" >"$work/files-$number"; then
    cat "$work/files-$number" >>"$work/files"
  else
    : >"$work/files-$number"
  fi
done <"$open"
# What is left over waits for the next run.
head -n 100 "$work/files" >"$work/first"
mapfile -t files <"$work/first"
if [ ${#files[@]} = 0 ]; then
  exit 0
fi
accept --known --from "${files[@]}"

while read -r number _; do
  settled=0
  while read -r file; do
    id=$(basename "$file" .toml)
    # Two can name the same proposal, and one of them lie about it.
    if grep -Fq "\"state\":\"refused\",\"file\":\"$file\"" "$work/answer"; then continue 2; fi
    grep -Eq "\"proposal\":\"$id\",\"state\":\"(accepted|already-in)\"" "$work/answer" || continue 2
    settled=1
  done <"$work/files-$number"
  if [ $settled = 1 ]; then echo "$number"; fi
done <"$open" >"${SETTLED:-/dev/null}"
