# shellcheck shell=bash
# What the scripts beside this one share. They need git and quipu, of the version that the first line of ci/quipu-version names.
# Its second line may say where to build that from: the URL of a git repository and a full commit id, with a space between.
#
# REGISTRY_URL says where the registry is, as everybody can read it.

set -euo pipefail
: "${REGISTRY_URL:?says where the registry is}"
ci=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export QUIPU_HOME=$work/home GIT_TERMINAL_PROMPT=0

complain() {
  printf '%s\n' "$*" >&2
}

# Sees to it that quipu is on the PATH, and is the one that is asked for.
need_quipu() {
  local version='' source='' rev=''
  { read -r version && read -r source rev || true; } <"$ci/quipu-version"
  if [ "$(quipu --version 2>/dev/null || true)" = "quipu $version" ]; then
    return
  fi
  if [ -z "$rev" ]; then
    complain "quipu $version is not here, and ci/quipu-version does not say what to build it from"
    exit 1
  fi
  cargo install --quiet --locked --root "$work/quipu" --git "$source" --rev "$rev" quipu
  PATH=$work/quipu/bin:$PATH
}

# Clones the registry, and nothing else that the forge keeps in the same repository.
clone_registry() {
  local format
  format=$(sed -n 's/^object-format = "\(.*\)"$/\1/p' "$ci/../registry.toml")
  git init --quiet --bare --object-format="$format" "$1"
  git -C "$1" -c transfer.fsckObjects=true fetch --quiet --no-tags "$REGISTRY_URL" \
    +refs/heads/main:refs/heads/main '+refs/registry/*:refs/registry/*' '+refs/packages/*:refs/packages/*' \
    '+refs/decisions/*:refs/decisions/*' '+refs/contents/*:refs/contents/*' '+refs/attestations/*:refs/attestations/*' \
    '+refs/mirrors/*:refs/mirrors/*' '+refs/incoming/*:refs/incoming/*' '+refs/refused/*:refs/refused/*' \
    '+refs/retired/*:refs/retired/*'
}

# Writes one file of a commit below a folder, where it is a proposal file: repository, commit, path, folder.
take_file() {
  local size
  [[ $3 =~ ^proposals/[a-z0-9-]+/[a-z0-9-]+/[0-9a-f]{40,64}\.toml$ ]] || return 1
  [[ $(git -C "$1" ls-tree "$2" -- "$3") = "100644 blob "* ]] || return 1
  size=$(git -C "$1" cat-file -s "$2:$3") || return 1
  [ "$size" -le 8192 ] || return 1
  mkdir -p "$4/$(dirname "$3")" && git -C "$1" cat-file blob "$2:$3" >"$4/$3"
}

# Writes the proposal files of the front page below a folder, and their places to stdout.
files_of_main() {
  local path
  git -C "$1" ls-tree -r -z --name-only refs/heads/main proposals/ | while IFS= read -r -d '' path; do
    if take_file "$1" refs/heads/main "$path" "$2"; then
      printf '%s\n' "$2/$path"
    fi
  done
}

# Writes the proposal files that a pull request adds below a folder, and their places to stdout. It fails where the request does
# anything else beside that. Nothing of the request is run, nor checked out.
files_of_request() {
  local requests=$work/requests.git status path others='' count=0
  if [ ! -d "$requests" ]; then
    git clone --quiet --bare --single-branch --branch=main --no-tags "$REGISTRY_URL" "$requests" || return 1
  fi
  git -C "$requests" -c transfer.fsckObjects=true fetch --quiet --no-tags "$REGISTRY_URL" "+$1:refs/request" || return 1
  git -C "$requests" diff --no-renames --name-status -z refs/heads/main...refs/request >"$work/changed" || return 1
  while IFS= read -r -d '' status && IFS= read -r -d '' path; do
    case $path in
      proposals/*)
        if [ "$status" != A ] || ! take_file "$requests" refs/request "$path" "$2"; then
          complain "$(printf '%q is no proposal file that is added' "$path")"
          return 1
        fi
        count=$((count + 1))
        printf '%s\n' "$2/$path"
        ;;
      *) others=1 ;;
    esac
  done <"$work/changed"
  if [ $count -gt 10 ]; then
    complain "a pull request has at most ten proposals"
    return 1
  fi
  if [ -n "$others" ] && [ $count -gt 0 ]; then
    complain "a pull request with a proposal changes nothing else"
    return 1
  fi
}
