# Completion of quipu in bash. It asks quipu itself, which looks at this machine alone.
_quipu() {
    local line
    COMPREPLY=()
    # The line as it was typed: bash takes names apart at their colons.
    while IFS= read -r line; do
        if [[ $line == files ]]; then
            compopt -o default +o nospace 2>/dev/null
        elif [[ -n $line ]]; then
            COMPREPLY+=("$line")
        fi
    done <<<"$(QUIPU_COMPLETE=bash COMPLETER -- "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)"
}
if [[ ${BASH_VERSINFO[0]} -gt 4 || ${BASH_VERSINFO[0]} -eq 4 && ${BASH_VERSINFO[1]} -ge 4 ]]; then
    complete -o nospace -o nosort -F _quipu quipu
elif [[ ${BASH_VERSINFO[0]} -eq 4 ]]; then
    complete -o nospace -F _quipu quipu
else
    complete -o nospace -o default -F _quipu quipu
fi
