//! Brackets that are never closed.
//!
//! To a parser the rest of the file then belongs to the list, and it calls every further line wrong. A line that can
//! only be a table's head, or inside a list a `key =`, shows where the list was meant to end.

use std::ops::Range;

use super::walk::{Problem, Scope};

/// The text with every value that has an unclosed bracket blanked out, byte for byte as long as before, and a mistake
/// for each; `None` where there are none.
pub(super) fn heal(text: &str) -> Option<(String, Vec<Problem>)> {
    let mut problems = Vec::new();
    let mut healed = text.as_bytes().to_vec();
    for open in unclosed(text) {
        let (message, at) = match open.string {
            Some(at) => ("this string is not closed", at),
            None => ("this bracket is not closed", open.value.start),
        };
        problems.push(Problem {
            span: at..at + 1,
            message: message.to_owned(),
            help: String::new(),
            other: None,
            scope: Scope::Local,
        });
        if let Some(value) = healed.get_mut(open.value) {
            value.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            value.iter_mut().take(1).for_each(|byte| *byte = b'0');
        }
    }
    if problems.is_empty() {
        return None;
    }
    String::from_utf8(healed).ok().map(|healed| (healed, problems))
}

struct Unclosed {
    /// From the outermost bracket to the line that cannot be a part of it.
    value: Range<usize>,
    /// Where in it a string begins that is not closed on its line.
    string: Option<usize>,
}

fn unclosed(text: &str) -> Vec<Unclosed> {
    let mut found = Vec::new();
    let mut brackets: Vec<(u8, usize)> = Vec::new();
    let mut string = None;
    let mut rest = text;
    let mut in_value = false;
    while let Some((line, after)) = next_line(rest) {
        let start = text.len() - rest.len();
        if let Some(outermost) = brackets.first().map(|(_, at)| *at)
            && cannot_continue(line, brackets.last().map(|(kind, _)| *kind))
        {
            found.push(Unclosed { value: outermost..start, string });
            brackets.clear();
        }
        if brackets.is_empty() {
            string = None;
            in_value = false;
        }
        let mut at = 0;
        while let Some(byte) = line.as_bytes().get(at).copied() {
            match byte {
                b'#' => break,
                b'"' | b'\'' => match end_of_string(rest.get(at..).unwrap_or_default(), byte) {
                    Some(length) => at += length - 1,
                    None => {
                        string.get_or_insert(start + at);
                        break;
                    }
                },
                b'=' => in_value = true,
                b'[' | b'{' if in_value || !brackets.is_empty() => brackets.push((byte, start + at)),
                b']' | b'}' => {
                    brackets.pop();
                }
                _ => {}
            }
            at += 1;
        }
        // A string of several lines took some of what follows.
        let taken = at.max(line.len());
        rest = if taken > line.len() { rest.get(taken..).unwrap_or_default() } else { after };
    }
    if let Some((_, outermost)) = brackets.first() {
        found.push(Unclosed { value: *outermost..text.len(), string });
    }
    found
}

/// The first line without its line break, and what follows it.
fn next_line(text: &str) -> Option<(&str, &str)> {
    if text.is_empty() {
        return None;
    }
    Some(text.split_once('\n').unwrap_or((text, "")))
}

/// The length of the string at the start of `text`, quotes included; `None` where it is not closed on its line, or, a
/// string of several lines, at all.
fn end_of_string(text: &str, quote: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let triple = [quote; 3];
    let (from, close, one_line): (usize, &[u8], bool) =
        if bytes.starts_with(&triple) { (3, &triple, false) } else { (1, &triple[..1], true) };
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if one_line => return None,
            _ if bytes.get(at..).is_some_and(|rest| rest.starts_with(close)) => {
                return Some(at + close.len());
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether `line` cannot stand inside a bracket of this `kind`.
fn cannot_continue(line: &str, kind: Option<u8>) -> bool {
    let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
    let is_key = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-. \t\"'".contains(c))
    };
    let head = line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]"));
    let head = head.or_else(|| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')));
    // `["a"]` and `[5]` may be lists in a list; a table's head begins with a letter here.
    if head.is_some_and(|head| is_key(head) && head.starts_with(|c: char| c.is_ascii_alphabetic())) {
        return true;
    }
    kind == Some(b'[') && line.split_once('=').is_some_and(|(key, _)| is_key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclosed_list_ends_before_the_next_key() {
        let text = "a = [\"x\"\nb = 1\n[t]\nc = { d = [1,\n[u]\ne = \"[\" # [\n";
        let (healed, problems) = heal(text).unwrap();
        assert_eq!(healed.len(), text.len());
        assert_eq!(healed, "a = 0   \nb = 1\n[t]\nc = 0        \n[u]\ne = \"[\" # [\n");
        let places: Vec<usize> = problems.iter().map(|problem| problem.span.start).collect();
        assert_eq!(places, [4, text.find('{').unwrap()]);
    }

    #[test]
    fn an_unclosed_string_in_a_bracket_is_the_mistake() {
        let text = "a = { value = \"x }\n[b]\n";
        let (_, problems) = heal(text).unwrap();
        assert_eq!(problems[0].message, "this string is not closed");
        assert_eq!(problems[0].span.start, text.find('"').unwrap());
    }

    #[test]
    fn closed_brackets_are_left_alone() {
        for text in [
            "",
            "a = [\n  [1, 2],\n  [\"x\"],\n  { b = 1 },\n]\n",
            "a = {\n  b = 1,\n  c = [2],\n}\n[d]\n",
            "[[t]]\na = \"\"\"\n[\n\"\"\"\n[t.u]\n",
            "a = '[' # [\nb = \"\\\"[\"\n",
            "a = ['''\nb = [\n''']\n[c]\n",
        ] {
            assert!(heal(text).is_none(), "{text}");
        }
    }
}
