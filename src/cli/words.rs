//! A string of commands as virsh splits it (`tools/vsh.c: vshCommandStringGetArg`): blanks part words, `;` and the end of a
//! line part commands, `#` before a word begins a comment; quotes and `\` work as in a shell, without its expansions.
//!
//! Own code, because shell splitters (`shlex`) do not know commands, nor which `;` was quoted.

use super::failure::Failure;
use std::iter::Peekable;
use std::str::Chars;

/// The words of each command; commands without words are left out.
pub fn commands(text: &str) -> Result<Vec<Vec<String>>, Failure> {
    let mut commands = vec![Vec::new()];
    let mut rest = text.chars().peekable();
    while let Some(&c) = rest.peek() {
        match c {
            ' ' | '\t' => drop(rest.next()),
            ';' | '\n' => {
                rest.next();
                commands.push(Vec::new());
            }
            '#' => while rest.next_if(|c| *c != '\n').is_some() {},
            _ => {
                let word = word(&mut rest)?;
                if let (Some(word), Some(command)) = (word, commands.last_mut()) {
                    command.push(word);
                }
            }
        }
    }
    commands.retain(|c| !c.is_empty());
    Ok(commands)
}

/// One word; none where there was only an escaped end of line.
fn word(rest: &mut Peekable<Chars<'_>>) -> Result<Option<String>, Failure> {
    let mut word = String::new();
    let mut any = false;
    let mut quote = None;
    while let Some(c) = rest.next_if(|c| quote.is_some() || !matches!(c, ' ' | '\t' | ';' | '\n')) {
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => match rest.next() {
                Some('\n') => continue,
                Some(escaped) => word.push(escaped),
                None => return Err(Failure::new("dangling \\")),
            },
            (c, _) => word.push(c),
        }
        any = true;
    }
    match quote {
        Some(open) => Err(Failure::new(format!("missing {open}"))),
        None => Ok(any.then_some(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_parted_where_virsh_parts_them() {
        for (text, expected) in [
            ("", vec![]),
            (" ; ;\n", vec![]),
            ("list", vec![vec!["list"]]),
            ("a b;c\td\ne", vec![vec!["a", "b"], vec!["c", "d"], vec!["e"]]),
            ("a 'b ; c' \"d\\\"e\" f\\ g\\;h", vec![vec!["a", "b ; c", "d\"e", "f g;h"]]),
            ("a '' \"\"", vec![vec!["a", "", ""]]),
            ("a'b'\"c\"d", vec![vec!["abcd"]]),
            ("'a\\b'", vec![vec!["a\\b"]]),
            ("# all\na # rest ; b\nc#d", vec![vec!["a"], vec!["c#d"]]),
            ("a \\\n b", vec![vec!["a", "b"]]),
        ] {
            assert_eq!(commands(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_not_closed_is_named() {
        for (text, refusal) in [("a \\", "dangling \\"), ("a \"b", "missing \""), ("a 'b; c", "missing '")] {
            assert_eq!(commands(text).unwrap_err().lines(), [refusal], "{text:?}");
        }
    }
}
