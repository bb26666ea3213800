# Completion of quipu in fish. It asks quipu itself, which looks at this machine alone.
function __quipu_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    for line in (QUIPU_COMPLETE=fish COMPLETER -- $words "$current" 2>/dev/null)
        if test "$line" = files
            __fish_complete_path (string replace --regex -- '^--[^=]*=' '' "$current")
        else
            echo $line
        end
    end
end
complete --command quipu --no-files --keep-order --arguments '(__quipu_complete)'
