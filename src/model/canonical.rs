//! The canonical form of record bodies: TOML with nothing optional about it.
//!
//! A [`Writer`] puts down keys in the order in which it is told them; a [`Reader`] expects the same keys in the same
//! order and refuses everything else, so that one value has one spelling:
//!
//! ```text
//! format = 1                          integers: decimal, no sign, no leading zero
//! kind = "release"                    basic strings with the one escape table below
//! privileges = ["auth", "release"]    arrays of strings, on one line
//!
//! [release]                           a table, one empty line before it
//! yanked = false                      booleans
//!
//! [[release.dependencies]]            an element of an array of tables, likewise
//! ```
//!
//! Escapes: `\"`, `\\`, `\n`, `\t`; every other character of [`needs_escape`] as `\uXXXX` or, beyond U+FFFF, `\UXXXXXXXX`
//! with capital digits. Every document is also a TOML document with the same meaning.

use super::error::{Result, fault};
use super::gitfiles::is_invisible;
use std::borrow::Cow;
use std::fmt::{Display, Write as _};

/// Says whether a character is never written as itself: quote and backslash, controls, and what is not seen or reorders text when
/// a person reads a record with `git log` ([`is_invisible`]).
pub fn needs_escape(c: char) -> bool {
    match c {
        '"' | '\\' => true,
        ' '..='~' => false,
        _ => c.is_control() || is_invisible(c),
    }
}

/// Says whether a text stands between quotes as it is. Most are of plain ASCII, which is seen at a glance.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') || !text.contains(needs_escape)
}

/// Writes canonical text.
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
}

impl Writer {
    /// Starts an empty document.
    pub fn new() -> Self {
        Writer::default()
    }

    /// Starts a document behind a text, with which it is returned.
    pub fn behind(text: String) -> Self {
        Writer { out: text }
    }

    /// Writes `key = "value"`.
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        if is_plain(value) {
            self.out.push('"');
            self.out.push_str(value);
            self.out.push('"');
        } else {
            self.quoted(value);
        }
        self.out.push('\n');
    }

    /// Writes `key = "value"` of anything that prints.
    pub fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.shown(value);
        self.out.push('\n');
    }

    /// Writes the line only where there is a value.
    pub fn optional(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Writes `key = 12`.
    pub fn integer(&mut self, key: &str, value: u64) {
        self.key(key);
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{value}");
    }

    /// Writes `key = true`.
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        let _ = writeln!(self.out, "{value}");
    }

    /// Writes `key = ["a", "b"]`.
    pub fn strings(&mut self, key: &str, values: impl IntoIterator<Item = impl Display>) {
        self.key(key);
        self.out.push('[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.shown(value);
        }
        self.out.push_str("]\n");
    }

    /// Starts a table: an empty line and `[name]`.
    pub fn table(&mut self, name: &str) {
        let _ = write!(self.out, "\n[{name}]\n");
    }

    /// Starts an element of an array of tables: an empty line and `[[name]]`.
    pub fn element(&mut self, name: &str) {
        let _ = write!(self.out, "\n[[{name}]]\n");
    }

    /// Returns the document.
    pub fn finish(self) -> String {
        self.out
    }

    fn key(&mut self, key: &str) {
        self.out.push_str(key);
        self.out.push_str(" = ");
    }

    /// Writes what a value displays, in quotes.
    fn shown(&mut self, value: impl Display) {
        let start = self.out.len();
        // Most values have nothing to escape, and are written once.
        let _ = write!(self.out, "\"{value}\"");
        let inner = start + 1..self.out.len() - 1;
        if !is_plain(&self.out[inner.clone()]) {
            let value = self.out[inner].to_owned();
            self.out.truncate(start);
            self.quoted(&value);
        }
    }

    fn quoted(&mut self, value: &str) {
        self.out.push('"');
        let mut plain = 0;
        for (at, c) in value.char_indices().filter(|(_, c)| needs_escape(*c)) {
            self.out.push_str(&value[plain..at]);
            plain = at + c.len_utf8();
            let _ = match c {
                '"' => self.out.write_str("\\\""),
                '\\' => self.out.write_str("\\\\"),
                '\n' => self.out.write_str("\\n"),
                '\t' => self.out.write_str("\\t"),
                c if u32::from(c) <= 0xffff => write!(self.out, "\\u{:04X}", u32::from(c)),
                c => write!(self.out, "\\U{:08X}", u32::from(c)),
            };
        }
        self.out.push_str(&value[plain..]);
        self.out.push('"');
    }
}

/// Reads canonical text, line by line, and refuses what a [`Writer`] would not have written.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first line.
    pub fn new(text: &'a str) -> Self {
        Reader { rest: text, line: 1 }
    }

    /// Reads `key = "value"`.
    ///
    /// # Errors
    /// `not-canonical` where the next line is anything else.
    pub fn string(&mut self, key: &str) -> Result<String> {
        self.borrowed(key).map(Cow::into_owned)
    }

    /// Reads `key = "value"`, and copies the value only where it has an escape.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn borrowed(&mut self, key: &str) -> Result<Cow<'a, str>> {
        let value = self.value(key)?;
        let (text, rest) = self.quoted(value)?;
        if rest.is_empty() { Ok(text) } else { Err(self.wrong(&format!("{rest:?} after the value of {key}"))) }
    }

    /// Reads `key = "value"` and parses the value, which must print again as it was read.
    ///
    /// # Errors
    /// As [`Reader::string`], and what the parser of `T` says.
    pub fn text<T>(&mut self, key: &str) -> Result<T>
    where
        T: std::str::FromStr<Err = super::error::Error>,
    {
        let line = self.line;
        let text = self.borrowed(key)?;
        text.parse().map_err(|error: super::error::Error| match error.code() {
            // A key may be spelled well and be none that is admitted.
            super::error::ErrorCode::BadKey => error.at(format!("line {line}, {key}")),
            _ => fault!(NotCanonical, "line {line}, {key}: {}", error.message()),
        })
    }

    /// Reads `key = "value"` where the next line has that key.
    ///
    /// # Errors
    /// As [`Reader::text`].
    pub fn optional<T>(&mut self, key: &str) -> Result<Option<T>>
    where
        T: std::str::FromStr<Err = super::error::Error>,
    {
        if self.next_is(key) { self.text(key).map(Some) } else { Ok(None) }
    }

    /// Reads `key = "value"` where the next line has that key.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn optional_string(&mut self, key: &str) -> Result<Option<String>> {
        if self.next_is(key) { self.string(key).map(Some) } else { Ok(None) }
    }

    /// Reads `key = 12`.
    ///
    /// # Errors
    /// `not-canonical` where the next line is anything else.
    pub fn integer(&mut self, key: &str) -> Result<u64> {
        let value = self.value(key)?;
        let canonical =
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) && (value == "0" || !value.starts_with('0'));
        // TOML's integers have 64 bits and a sign.
        match value.parse::<u64>() {
            Ok(number) if canonical && i64::try_from(number).is_ok() => Ok(number),
            _ => Err(self.wrong(&format!("{value:?}, expected a number for {key}"))),
        }
    }

    /// Reads `key = 12` where the next line has that key.
    ///
    /// # Errors
    /// As [`Reader::integer`].
    pub fn optional_integer(&mut self, key: &str) -> Result<Option<u64>> {
        if self.next_is(key) { self.integer(key).map(Some) } else { Ok(None) }
    }

    /// Reads `key = true` or `key = false`.
    ///
    /// # Errors
    /// `not-canonical` where the next line is anything else.
    pub fn boolean(&mut self, key: &str) -> Result<bool> {
        match self.value(key)? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.wrong(&format!("{other:?}, expected true or false for {key}"))),
        }
    }

    /// Reads `key = ["a", "b"]`.
    ///
    /// # Errors
    /// `not-canonical` where the next line is anything else.
    pub fn strings(&mut self, key: &str) -> Result<Vec<String>> {
        let value = self.value(key)?;
        let Some(mut rest) = value.strip_prefix('[') else {
            return Err(self.wrong(&format!("{value:?}, expected an array for {key}")));
        };
        let mut items = Vec::new();
        if rest == "]" {
            return Ok(items);
        }
        loop {
            let (item, after) = self.quoted(rest)?;
            items.push(item.into_owned());
            if after == "]" {
                return Ok(items);
            }
            let Some(next) = after.strip_prefix(", ") else {
                return Err(self.wrong(&format!("{after:?} in the array {key}")));
            };
            rest = next;
        }
    }

    /// Reads an array of strings where the next line has that key.
    ///
    /// # Errors
    /// As [`Reader::strings`].
    pub fn optional_strings(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        if self.next_is(key) { self.strings(key).map(Some) } else { Ok(None) }
    }

    /// Reads the beginning of a table.
    ///
    /// # Errors
    /// `not-canonical` where it is not there.
    pub fn table(&mut self, name: &str) -> Result<()> {
        if self.optional_table(name) {
            return Ok(());
        }
        Err(self.wrong(&format!("{:?}, expected the table {name}", first_line(self.rest))))
    }

    /// Reads the beginning of a table, where it is there.
    pub fn optional_table(&mut self, name: &str) -> bool {
        self.heading("\n[", name, "]\n")
    }

    /// Reads the beginning of an element of an array of tables, where one is there.
    pub fn element(&mut self, name: &str) -> bool {
        self.heading("\n[[", name, "]]\n")
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `not-canonical` where something is.
    pub fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong(&format!("{:?}, expected the end", first_line(self.rest)))) }
    }

    /// Says whether the next line has this key.
    pub fn next_is(&self, key: &str) -> bool {
        self.rest.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "))
    }

    fn heading(&mut self, before: &str, name: &str, after: &str) -> bool {
        let rest =
            self.rest.strip_prefix(before).and_then(|rest| rest.strip_prefix(name)).and_then(|rest| rest.strip_prefix(after));
        if let Some(rest) = rest {
            self.rest = rest;
            self.line += 2;
        }
        rest.is_some()
    }

    fn value(&mut self, key: &str) -> Result<&'a str> {
        let Some((line, rest)) = self.rest.split_once('\n') else {
            return Err(self.wrong(&format!("{:?}, expected `{key} = …` and a line feed", first_line(self.rest))));
        };
        let Some(value) = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(" = ")) else {
            return Err(self.wrong(&format!("{line:?}, expected `{key} = …`")));
        };
        self.rest = rest;
        self.line += 1;
        Ok(value)
    }

    /// Reads a quoted string at the start of `text` and returns what follows it.
    fn quoted(&self, text: &'a str) -> Result<(Cow<'a, str>, &'a str)> {
        let Some(inner) = text.strip_prefix('"') else {
            return Err(self.wrong(&format!("{text:?}, expected a string")));
        };
        if let Some((value, rest)) = inner.split_once('"')
            && is_plain(value)
        {
            return Ok((Cow::Borrowed(value), rest));
        }
        let mut value = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Ok((Cow::Owned(value), &inner[at + 1..])),
                '\\' => {
                    let escaped = match chars.next() {
                        Some((_, '"')) => Some('"'),
                        Some((_, '\\')) => Some('\\'),
                        Some((_, 'n')) => Some('\n'),
                        Some((_, 't')) => Some('\t'),
                        Some((digits, 'u')) => code_point(inner, digits + 1, 4, &mut chars),
                        Some((digits, 'U')) => code_point(inner, digits + 1, 8, &mut chars),
                        _ => None,
                    };
                    value.push(escaped.ok_or_else(|| self.wrong("an escape that is not in the table"))?);
                }
                c if needs_escape(c) => {
                    return Err(self.wrong(&format!("the character U+{:04X} as itself, expected an escape", u32::from(c))));
                }
                c => value.push(c),
            }
        }
        Err(self.wrong("a string without an end"))
    }

    fn wrong(&self, found: &str) -> super::error::Error {
        fault!(NotCanonical, "line {}: found {found}", self.line)
    }
}

/// Reads the hexadecimal digits of an escape; `None` where the writer would have put the character down otherwise.
fn code_point(text: &str, start: usize, digits: usize, chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let hex = text.get(start..start + digits)?;
    if !hex.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
        return None;
    }
    for _ in 0..digits {
        chars.next();
    }
    let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
    let short = u32::from(c) <= 0xffff;
    (needs_escape(c) && !matches!(c, '"' | '\\' | '\n' | '\t') && short == (digits == 4)).then_some(c)
}

fn first_line(text: &str) -> &str {
    let line = text.trim_start_matches('\n');
    line.split('\n').next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(text: &str) -> Result<String> {
        let mut reader = Reader::new(text);
        let value = reader.string("k")?;
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn a_string_has_one_spelling() {
        assert_eq!(read_back("k = \"a\\u0007b\"\n"), Ok("a\u{7}b".into()));
        for wrong in [
            "k = \"a\"",
            "k = \"a\"\r\n",
            "k =  \"a\"\n",
            "k = \"a\" \n",
            "k=\"a\"\n",
            "k = 'a'\n",
            "k = \"\u{7}\"\n",
            "k = \"\\u0061\"\n",
            "k = \"\\u000a\"\n",
            "k = \"\\u000A\"\n",
            "k = \"\\U00000007\"\n",
            "k = \"\\u202e\"\n",
            "k = \"\u{202e}\"\n",
            "k = \"\\r\"\n",
            "k = \"a\n",
            "k = \"\\",
            "k = \"\\u12",
            "k = \"\\uD800\"\n",
            "# c\nk = \"a\"\n",
            "k = \"a\"\n\n",
        ] {
            assert_eq!(read_back(wrong).map_err(|e| e.code().as_str()), Err("not-canonical"), "{wrong:?}");
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        let read = |text: &str| Reader::new(text).integer("k");
        assert_eq!(read("k = 0\n"), Ok(0));
        assert_eq!(read("k = 9223372036854775807\n"), Ok(i64::MAX as u64));
        for wrong in
            ["k = 00\n", "k = +1\n", "k = -1\n", "k = 1_0\n", "k = 9223372036854775808\n", "k = \n", "k = 1.0\n", "k = 0x1\n"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_is_toml(text in any::<String>(), list in prop::collection::vec(any::<String>(), 0..4), number in 0..=i64::MAX) {
            let mut writer = Writer::new();
            writer.string("s", &text);
            writer.strings("l", &list);
            writer.table("t");
            writer.integer("n", number as u64);
            let written = writer.finish();

            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.string("s")?, text.clone());
            prop_assert_eq!(reader.strings("l")?, list.clone());
            reader.table("t")?;
            prop_assert_eq!(reader.integer("n")?, number as u64);
            reader.end()?;

            let toml: toml::Table = written.parse().expect("canonical text is TOML");
            prop_assert_eq!(toml["s"].as_str(), Some(text.as_str()));
            prop_assert_eq!(toml["t"]["n"].as_integer(), Some(number));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*|k = [\"\\\\\\[a-zU0-9, \\]]*\n?") {
            let mut reader = Reader::new(&text);
            let _ = reader.clone().string("k");
            let _ = reader.clone().strings("k");
            let _ = reader.integer("k");
        }
    }
}
