//! Completion scripts of shells. They know nothing: they ask `virsnap complete`, see [`complete`](super::super::complete).

use super::super::failure::Failure;

/// The shells that have one.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Words are parted at blanks only, as bash would part `unix:path=/x` too; what it parted itself it wants back without.
const BASH: &str = r#"# virsnap(1) completion for bash
_virsnap() {
    local line=${COMP_LINE:0:COMP_POINT} words current kept offer
    read -ra words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    current=${words[-1]}
    kept=${current%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS= read -r offer; do
        COMPREPLY+=("$(printf %q "${offer#"$kept"}")")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null | cut -f 1)
}
complete -o default -F _virsnap virsnap
"#;

const ZSH: &str = r#"#compdef virsnap
# virsnap(1) completion for zsh
_virsnap() {
    local -a offers
    offers=(${(f)"$(${(Q)words[1]} complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#offers )); then
        offers=(${${offers//:/\\:}/$'\t'/:})
        _describe virsnap offers
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_virsnap" ]; then _virsnap "$@"; else compdef _virsnap virsnap; fi
"#;

const FISH: &str = r#"# virsnap(1) completion for fish
function __virsnap_offers
    set -l words (commandline -opc) (commandline -ct)
    command $words[1] complete -- $words[2..-1] 2>/dev/null
end
complete -c virsnap -n 'count (__virsnap_offers) >/dev/null' -f
complete -c virsnap -a '(__virsnap_offers)'
"#;

/// The script of one shell.
pub fn script(shell: &str) -> Result<String, Failure> {
    match shell {
        "bash" => Ok(BASH.to_owned()),
        "zsh" => Ok(ZSH.to_owned()),
        "fish" => Ok(FISH.to_owned()),
        other => Err(super::unknown("shell", other, SHELLS)),
    }
}
