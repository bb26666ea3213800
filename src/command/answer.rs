//! What a command says: lines for people, one JSON object for programs.

use crate::git::patch::Patch;
use crate::model::canonical::needs_escape;
use crate::model::digest::RecordDigest;
use crate::model::error::Error;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The result of a command.
#[derive(Debug, Default)]
pub struct Answer {
    /// Lines for people.
    pub text: String,
    /// A patch for people, printed after the text.
    pub patch: Option<Patch>,
    /// Fields for programs.
    pub fields: Map<String, Value>,
    /// The exit status: 0, or 1 where the answer is no.
    pub exit: u8,
    /// A fault that was found and is the answer; printed after the text.
    pub fault: Option<Error>,
}

impl Answer {
    /// Makes an answer with nothing in it.
    pub fn new() -> Self {
        Answer::default()
    }

    /// Adds a line for people. A line feed in it is shown as an escape: what others wrote looks like no line of ours.
    pub fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(&one_line(line.as_ref()));
        self.text.push('\n');
    }

    /// Adds a field for programs.
    pub fn field(&mut self, key: &str, value: impl Into<Value>) {
        self.fields.insert(key.to_owned(), value.into());
    }

    /// Adds the checkpoint that the answer rests on, or that it made.
    pub fn checkpoint(&mut self, seq: u64, digest: RecordDigest) {
        self.field("checkpoint", json!({ "seq": seq, "digest": digest.to_string() }));
    }

    /// Returns the object that `--json` prints.
    pub fn to_json(&self, command: &str) -> Value {
        let mut object = Map::new();
        object.insert("quipu".into(), json!(1));
        object.insert("command".into(), json!(command));
        object.extend(self.fields.clone());
        if let Some(fault) = &self.fault {
            object.insert("error".into(), error_object(fault));
        }
        Value::Object(object)
    }
}

/// Returns the object that `--json` prints for an error.
pub fn error_to_json(command: &str, error: &Error) -> Value {
    json!({ "quipu": 1, "command": command, "error": error_object(error) })
}

/// Returns code, message and hints of an error.
pub fn error_object(error: &Error) -> Value {
    json!({
        "code": error.code().as_str(),
        "message": error.message(),
        "hint": error.hints().first(),
        "hints": error.hints(),
    })
}

/// Writes an object for programs in one line. What would move a cursor, reorder or hide text is escaped, as JSON allows: the object says
/// the same, and a terminal that shows it stays as it is.
pub fn json_line(object: &Value) -> String {
    let text = object.to_string();
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // All that is not ASCII stands within strings.
        if !c.is_ascii() && needs_escape(c) || c == '\u{7f}' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out.push('\n');
    out
}

/// Makes text safe for a terminal: what would move the cursor, reorder or hide text is shown as an escape. Line feeds stay.
pub fn for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && c != '"' && c != '\\' && needs_escape(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Shows line feeds as escapes.
pub fn one_line(text: &str) -> String {
    text.replace('\n', "\\u{a}")
}

/// Says a number of bytes as people do.
pub fn bytes_in_words(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Says a number of things: `1 package`, `2 packages`.
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(for_terminal("a\u{1b}[2Jb\rc\u{202e}d\ne\u{9b}"), "a\\u{1b}[2Jb\\u{d}c\\u{202e}d\ne\\u{9b}");
        assert_eq!(for_terminal("\"C:\\x\""), "\"C:\\x\"");
    }

    #[test]
    fn what_others_wrote_makes_no_line_of_its_own() {
        let mut answer = Answer::new();
        answer.line("yanked: bad\n  license  MIT");
        assert_eq!(answer.text, "yanked: bad\\u{a}  license  MIT\n");
    }

    #[test]
    fn an_object_for_programs_is_quiet_and_says_the_same() {
        let object = json!({ "text": "a\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{e0041}é\"\\" });
        let line = json_line(&object);
        assert_eq!(line, "{\"text\":\"a\\u001b[2J\\u007f\\u009b\\u202e\\udb40\\udc41é\\\"\\\\\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), object);
    }

    #[test]
    fn sizes_are_said_in_words() {
        assert_eq!(bytes_in_words(1023), "1023 bytes");
        assert_eq!(bytes_in_words(1024), "1.0 KiB");
        assert_eq!(bytes_in_words(5 * 1024 * 1024 + 1), "5.0 MiB");
    }
}
