//! A file's text: from a span to line, column and the line as it may be shown.

use std::ops::Range;
use std::sync::Arc;

use super::mask;
use super::report::Snippet;

/// The longest piece of a line that is shown, in characters.
const SHOWN: usize = 100;
/// A tab is shown as so many blanks.
const TAB: &str = "    ";

/// A file's text with its lines.
pub(super) struct Source<'t> {
    pub(super) file: Arc<str>,
    pub(super) text: &'t str,
    line_starts: Vec<usize>,
    /// Spans whose text is never shown, in order and without overlaps.
    masks: Vec<Range<usize>>,
    /// The text did not parse: `masks` may lack some, so lines are judged by their looks too.
    broken: bool,
}

impl<'t> Source<'t> {
    pub(super) fn new(file: Arc<str>, text: &'t str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, line_starts, masks: Vec::new(), broken: false }
    }

    /// Sets what is never shown; `broken` where the text has syntax errors.
    pub(super) fn hide(&mut self, mut masks: Vec<Range<usize>>, broken: bool) {
        masks.sort_by_key(|mask| (mask.start, mask.end));
        self.masks = masks;
        self.broken = broken;
    }

    /// The number of the line that holds `offset`, from 0.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Line and column of `offset`, both from 1, the column in characters.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.line_of(offset);
        let start = self.line_starts.get(line).copied().unwrap_or(0);
        let column =
            self.text.get(start..offset.min(self.text.len())).map_or(0, |before| before.chars().count());
        (line + 1, column + 1)
    }

    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.trim_end_matches('\r').len()
    }

    /// The line that holds `span`, ready to be printed, with the carets' place.
    pub(super) fn snippet(&self, span: &Range<usize>) -> Snippet {
        let range = self.line_range(self.line_of(span.start));
        let line = self.text.get(range.clone()).unwrap_or_default();
        let shown = if self.broken { mask::presentable(line) } else { None };
        if let Some(shown) = shown {
            return Snippet { line: shown, start: 0, len: 1 };
        }
        let (cells, start, end) = self.cells(&range, line, span);
        cut(&cells, start, end)
    }

    /// What hides the text at `at`: masks are values of the file, so they are sorted and never overlap.
    fn mask_at(&self, at: usize) -> Option<&Range<usize>> {
        let behind = self.masks.partition_point(|mask| mask.start <= at);
        self.masks.get(behind.checked_sub(1)?).filter(|mask| mask.contains(&at))
    }

    /// The line's characters as they are shown, and where among them the span begins and ends.
    fn cells(&self, range: &Range<usize>, line: &str, span: &Range<usize>) -> (Vec<char>, usize, usize) {
        let mut cells: Vec<char> = Vec::with_capacity(line.len());
        let (mut start, mut end) = (None, None);
        let mut hidden_until = range.start;
        for (at, letter) in line.char_indices().map(|(at, letter)| (range.start + at, letter)) {
            if at >= span.start {
                start.get_or_insert(cells.len());
            }
            if at >= span.end {
                end.get_or_insert(cells.len());
            }
            if at < hidden_until {
                continue;
            }
            if let Some(mask) = self.mask_at(at) {
                hidden_until = mask.end;
                let quoted = matches!(letter, '"' | '\'');
                cells.extend(if quoted { "\"[secret]\"" } else { "[secret]" }.chars());
                continue;
            }
            match letter {
                '\t' => cells.extend(TAB.chars()),
                letter if letter.is_control() => cells.push('\u{fffd}'),
                letter => cells.push(letter),
            }
        }
        let start = start.unwrap_or(cells.len());
        let end = end.unwrap_or(cells.len());
        (cells, start, end)
    }
}

/// Cuts a long line to the part around the span.
fn cut(cells: &[char], start: usize, end: usize) -> Snippet {
    let len = end.saturating_sub(start).max(1);
    if cells.len() <= SHOWN {
        return Snippet { line: cells.iter().collect(), start, len };
    }
    // A third of the window before the span, so that its key is seen with it.
    let from = start.saturating_sub(SHOWN / 3).min(cells.len().saturating_sub(SHOWN));
    let to = (from + SHOWN).min(cells.len());
    let mut line = String::new();
    if from > 0 {
        line.push('…');
    }
    line.extend(cells.get(from..to).unwrap_or_default());
    if to < cells.len() {
        line.push('…');
    }
    let start = start - from;
    let len = len.min((to - from).saturating_sub(start).max(1));
    Snippet { line, start: start + usize::from(from > 0), len }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source<'_> {
        Source::new("f.toml".into(), text)
    }

    #[test]
    fn columns_count_characters() {
        let source = source("a = 1\n\u{e4}\u{f6} = \"x\"\n");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(6), (2, 1));
        assert_eq!(source.place(13), (2, 6));
        assert_eq!(source.place(500), (3, 1));
    }

    #[test]
    fn tabs_and_control_characters_keep_the_carets_in_place() {
        let text = "\ta\u{1b} = 1";
        let snippet = source(text).snippet(&(6..7));
        assert_eq!(snippet, Snippet { line: "    a\u{fffd} = 1".to_owned(), start: 9, len: 1 });
        assert_eq!(text.get(6..7), Some("1"));
    }

    #[test]
    fn a_masked_span_is_replaced_and_the_carets_follow() {
        let text = "s = { value = \"canary\" } oops";
        let mut source = source(text);
        source.hide(std::iter::once(14..22).collect(), false);
        let snippet = source.snippet(&(25..29));
        assert_eq!(snippet.line, "s = { value = \"[secret]\" } oops");
        assert_eq!((snippet.start, snippet.len), (27, 4));
        let whole = source.snippet(&(14..22));
        assert_eq!((whole.start, whole.len), (14, 10));
    }

    #[test]
    fn a_span_inside_a_mask_shows_nothing_of_it() {
        let text = "s = \"canary\"";
        let mut source = source(text);
        source.hide(std::iter::once(4..12).collect(), false);
        assert_eq!(source.snippet(&(6..8)).line, "s = \"[secret]\"");
    }

    #[test]
    fn long_lines_are_cut_around_the_span() {
        let text = format!("a = \"{}\" # {}", "x".repeat(300), "y".repeat(300));
        let at = text.find('#').unwrap();
        let snippet = source(&text).snippet(&(at..at + 1));
        assert!(snippet.line.chars().count() <= SHOWN + 2);
        assert_eq!(snippet.line.chars().nth(snippet.start), Some('#'));
        let first = source(&text).snippet(&(0..1));
        assert!(first.line.starts_with("a = ") && first.line.ends_with('…'), "{first:?}");
    }

    #[test]
    fn the_end_of_the_file_is_a_place_too() {
        let text = "a = ";
        let snippet = source(text).snippet(&(4..4));
        assert_eq!(snippet, Snippet { line: "a = ".to_owned(), start: 4, len: 1 });
        assert_eq!(source("").snippet(&(0..0)), Snippet { line: String::new(), start: 0, len: 1 });
    }

    #[test]
    fn a_carriage_return_is_not_shown() {
        assert_eq!(source("a = 1\r\nb = 2\r\n").snippet(&(0..1)).line, "a = 1");
    }
}
