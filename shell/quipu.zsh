#compdef quipu
# Completion of quipu in zsh. It asks quipu itself, which looks at this machine alone.
_quipu() {
    local line files=
    local -a whole part
    for line in "${(@f)$(QUIPU_COMPLETE=zsh COMPLETER -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        case $line in
            files) files=yes ;;
            whole\ *) whole+=("${line#whole }") ;;
            part\ *) part+=("${line#part }") ;;
        esac
    done
    local found=1
    (( $#whole )) && _describe -V quipu whole && found=0
    (( $#part )) && _describe -V quipu part -S '' && found=0
    if [[ -n $files ]]; then
        compset -P '--*='
        _files && found=0
    fi
    return found
}
if [[ $funcstack[1] == _quipu ]]; then
    _quipu "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
    compdef _quipu quipu
fi
