//! The parser's complaints in the words of this program.

use std::ops::Range;

use super::walk::{Problem, Scope};

/// What the parser says of `text`, with a hint where one can be given.
pub(super) fn problem(text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or_default();
    let typed = text.get(span.clone()).unwrap_or_default();
    let (message, help) = match error.message() {
        said if said.starts_with("string values must be quoted") && typed.trim().is_empty() => {
            ("the value is missing".to_owned(), "")
        }
        said if said.starts_with("string values must be quoted") => {
            ("this is no value".to_owned(), "text stands in quotes")
        }
        "duplicate key" => ("this stands in the file twice".to_owned(), "leave one of them out"),
        said => (said.to_owned(), ""),
    };
    let first = (error.message() == "duplicate key").then(|| first_of(text, &span)).flatten();
    let other = first.map(|span| (span, "the first one is at"));
    Problem { span, message, help: help.to_owned(), other, scope: Scope::Local }
}

/// The earlier place of the key or table's head at `span`: the nearest line above that begins in the same way, in the
/// same table for a key.
fn first_of(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let line_start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text.get(line_start..)?.lines().next()?;
    let is_head = line.trim_start().starts_with('[');
    let wanted = beginning(line, is_head)?;
    let mut end = line_start;
    while let Some(above) = text.get(..end.checked_sub(1)?) {
        let start = above.rfind('\n').map_or(0, |at| at + 1);
        let line = above.get(start..)?;
        if beginning(line, is_head) == Some(wanted) {
            let indent = line.len() - line.trim_start().len();
            return Some(start + indent..start + line.len());
        }
        if !is_head && line.trim_start().starts_with('[') {
            return None;
        }
        end = start;
    }
    None
}

/// A table's head, or a key before its `=`.
fn beginning(line: &str, is_head: bool) -> Option<&str> {
    let (mark, line) = if is_head { (']', line) } else { ('=', line) };
    line.split_once(mark).map(|(before, _)| before.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_is_found() {
        let text = "[a]\nx = 1\n[b]\nx = 2\n  [a]\ny = 1\nz = 2\ny = 3\n";
        let at = |needle: &str, from: usize| text[from..].find(needle).unwrap() + from;
        let head = at("  [a]", 0) + 3;
        assert_eq!(first_of(text, &(head..head + 1)), Some(0..3));
        let key = at("y = 3", 0);
        assert_eq!(first_of(text, &(key..key + 1)).map(|span| &text[span]), Some("y = 1"));
        let other_table = at("x = 2", 0);
        assert_eq!(first_of(text, &(other_table..other_table + 1)), None);
        assert_eq!(first_of("x", &(0..1)), None);
    }
}
