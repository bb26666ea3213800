#!/usr/bin/env bash
# Verifies the whole registry: every signature, every checkpoint, every byte of every release. It needs no secret.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need_quipu
clone_registry "$work/registry.git"
quipu verify "$work/registry.git"
quipu registry fsck "$work/registry.git"
