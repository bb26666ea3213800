//! What the hooks of a registry say to whoever pushes, line by line, and how it is read at the other end.
//!
//! ```text
//! quipu: published wasi:http 352793c42f062f15d24b1e360ad60afdabff81ae in checkpoint 7 sha256:…
//! quipu: proposed wasi:http 352793c42f062f15d24b1e360ad60afdabff81ae: it waits for an operator
//! quipu: [conflict] wasi:http: bob was first at seq 4 of acme.example/wasi:http: release 0.2.2
//! quipu: hint: fetch what is published and propose again: quipu publish does both
//! ```

use crate::model::error::{Error, ErrorCode};

/// What begins the line about a proposal that is published.
pub const PUBLISHED: &str = "quipu: published ";

/// Returns an error as it stands in a line, and in git's answer for a reference.
pub fn reason(error: &Error) -> String {
    format!("[{}] {}", error.code(), error.message())
}

/// Reads back the error that a push was answered with; `None` where the words are not a hook's.
pub fn parse_reason(words: &str) -> Option<Error> {
    let rest = words.strip_prefix("quipu: ").unwrap_or(words).strip_prefix('[')?;
    let (code, message) = rest.split_once("] ")?;
    let code: ErrorCode = code.parse().ok()?;
    Some(Error::new(code, message).asked())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_as_it_was_said() {
        let error = Error::new(ErrorCode::Conflict, "bob was first [at last] of all").asked();
        assert_eq!(parse_reason(&reason(&error)), Some(error.clone()));
        assert_eq!(parse_reason(&format!("quipu: {}", reason(&error))), Some(error));
        for words in ["pre-receive hook declined", "[rejected] (fetch first)", "[conflict]", "quipu: published [bug] x", ""] {
            assert_eq!(parse_reason(words), None, "{words}");
        }
    }
}
