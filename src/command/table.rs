//! Rows in columns: fitted to a terminal, and in full width elsewhere. Nothing is ever cut off; what does not fit goes to further lines.

use super::answer::{for_terminal, one_line};
use unicode_width::UnicodeWidthStr as _;

/// What stands between two columns.
const GAP: usize = 2;
/// How far the further lines of a row are indented where each cell has its own.
const INDENT: usize = 4;
/// The last column is folded where it has room for so much, in columns of the terminal.
const ROOM: usize = 24;

/// Rows of cells. The first cell of a row may be indented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl From<Vec<Vec<String>>> for Table {
    /// Takes the cells. What would begin a line or move a cursor in them is shown as an escape.
    fn from(rows: Vec<Vec<String>>) -> Self {
        let safe = |cell: String| one_line(&for_terminal(&cell));
        Table { rows: rows.into_iter().map(|row| row.into_iter().map(safe).collect()).collect() }
    }
}

impl Table {
    /// Lays the rows out for a terminal that is so many columns wide, or for no terminal.
    ///
    /// Where a row is too long for it, the last column is folded between words. Where that has too little room, it goes to lines of its own and,
    /// where that is not enough, so does every cell. A word that is too long even for that, an id for one, stays whole.
    pub fn lay(&self, width: Option<usize>) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
        let Some((_, before)) = widths.split_last() else { return String::new() };
        let before: usize = before.iter().map(|width| width + GAP).sum();
        let is_long = |width: usize| self.rows.iter().any(|row| in_line(row, &widths).width() > width);
        let mut out = String::new();
        for row in &self.rows {
            match width {
                Some(width) if is_long(width) && width >= before + ROOM.min(width / 2) => fold(&mut out, row, &widths, width),
                Some(width) if is_long(width) && columns > 2 => match row.split_last() {
                    Some((last, cells)) if before <= width + GAP && row.len() == columns => {
                        pile(&mut out, &[in_line(cells, &widths), last.clone()], width);
                    }
                    _ => pile(&mut out, row, width),
                },
                _ => push(&mut out, &in_line(row, &widths)),
            }
        }
        out
    }
}

/// Writes a row in one line.
fn in_line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
    }
    line.truncate(line.trim_end().len());
    line
}

/// Writes a row with its last column folded.
fn fold(out: &mut String, row: &[String], widths: &[usize], width: usize) {
    let before: usize = widths[..widths.len() - 1].iter().map(|width| width + GAP).sum();
    let Some((last, cells)) = row.split_last().filter(|_| row.len() == widths.len()) else {
        return push(out, &in_line(row, widths));
    };
    let mut begin = in_line(cells, widths);
    for line in words(last, width.saturating_sub(before)) {
        let gap = " ".repeat(before.saturating_sub(begin.width()));
        push(out, &format!("{begin}{gap}{line}"));
        begin.clear();
    }
}

/// Writes each cell of a row in a line of its own.
fn pile(out: &mut String, row: &[String], width: usize) {
    let Some((first, cells)) = row.split_first() else { return };
    let margin = first.len() - first.trim_start().len() + INDENT;
    push(out, first);
    for cell in cells.iter().filter(|cell| !cell.is_empty()) {
        for line in words(cell, width.saturating_sub(margin)) {
            push(out, &format!("{}{line}", " ".repeat(margin)));
        }
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Breaks text between words into lines of at most so many columns; there is always one.
fn words(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.width() + 1 + word.width() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        Table::from(rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect::<Vec<Vec<String>>>())
    }

    #[test]
    fn what_fits_stands_in_columns() {
        let table = table(&[&["0", "alice", "init demo:hello"], &["12", "bob", "x"]]);
        let expected = "0   alice  init demo:hello\n12  bob    x\n";
        assert_eq!(table.lay(None), expected);
        assert_eq!(table.lay(Some(26)), expected);
        assert_eq!(Table::default().lay(Some(80)), "");
    }

    #[test]
    fn the_last_column_is_folded_between_words() {
        let table = table(&[&["  about", "one two three four five six seven"], &["  license", "MIT"]]);
        assert_eq!(table.lay(Some(30)), "  about    one two three four\n           five six seven\n  license  MIT\n");
        assert_eq!(table.lay(None).lines().count(), 2, "a pipe gets each row in a line");
    }

    #[test]
    fn where_there_is_no_room_each_cell_has_its_line_and_is_whole() {
        let id = format!("sha256:{}", "0".repeat(64));
        let three = table(&[&["* acme.example", &id, "https://acme.example/registry.git"], &["  b.example", &id, "-"]]);
        let expected =
            format!("* acme.example\n    {id}\n    https://acme.example/registry.git\n  b.example\n      {id}\n      -\n");
        assert_eq!(three.lay(Some(60)), expected);
        assert_eq!(three.lay(Some(200)).lines().count(), 2);
        // Two columns are not piled up: an id that is too long is so on a line of its own, too.
        assert_eq!(table(&[&["  registry id", &id]]).lay(Some(20)), format!("  registry id  {id}\n"));
    }

    #[test]
    fn where_the_last_column_alone_has_no_room_it_goes_below_the_others() {
        let table = table(&[&["1", "2026-11-24T10:04:04Z", "alice", "release demo:hello 0.1.0"], &["0", "-", "bob", "init"]]);
        let expected = "1  2026-11-24T10:04:04Z  alice\n    release demo:hello 0.1.0\n0  -                     bob\n    init\n";
        assert_eq!(table.lay(Some(34)), expected);
    }

    #[test]
    fn wide_letters_count_as_two_and_what_moves_the_cursor_is_escaped() {
        assert_eq!(table(&[&["日本", "x"], &["abcd", "y"]]).lay(None), "日本  x\nabcd  y\n");
        assert_eq!(table(&[&["a\u{1b}[2J", "b\nc"]]).lay(None), "a\\u{1b}[2J  b\\u{a}c\n");
    }
}
