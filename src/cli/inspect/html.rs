//! One page of HTML that needs nothing else: no script, no network, pictures inside.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A page in the making. Everything it is given is text from outside and is escaped.
pub(super) struct Page {
    title: String,
    body: String,
}

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem;
  color: light-dark(#1e1e1e, #e4e4e4); background: light-dark(#fff, #17191c) }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
pre { font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: break-word;
  overflow-x: auto; padding: .8rem 1rem; border-radius: 6px; background: light-dark(#f4f4f5, #22252a) }
table { display: block; overflow-x: auto; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .15rem .9rem .15rem 0 } th { white-space: nowrap } td { overflow-wrap: anywhere }
th:first-child, td:first-child, .named td { text-align: left }
thead th { border-bottom: 1px solid light-dark(#999, #666) } tbody tr:nth-child(even) { background: light-dark(#f7f7f8, #1e2125) }
figure { margin: 1rem calc(50% - 50vw + 1.5rem) } figure img { display: block; margin: auto; max-width: 100%; height: auto;
  background: #fff; border-radius: 4px }
li { overflow-wrap: anywhere } details { margin: .5rem 0 }
";

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), body: String::new() }
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.body += &format!("<h2>{}</h2>\n", escape(text));
    }

    pub(super) fn small_heading(&mut self, text: &str) {
        self.body += &format!("<h3>{}</h3>\n", escape(text));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.body += &format!("<p>{}</p>\n", escape(text));
    }

    /// Text with its line breaks and spaces.
    pub(super) fn verbatim(&mut self, text: &str) {
        self.body += &format!("<pre>{}</pre>\n", escape(text.trim_end()));
    }

    pub(super) fn list<'a>(&mut self, items: impl IntoIterator<Item = &'a String>) {
        self.body += "<ul>\n";
        for item in items {
            self.body += &format!("<li>{}</li>\n", escape(item));
        }
        self.body += "</ul>\n";
    }

    /// A table; a long one is folded away.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        const LONG: usize = 40;
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
            cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
        };
        let head = cells("th", &mut head.iter().copied());
        let row = |row: &Vec<String>| format!("<tr>{}</tr>\n", cells("td", &mut row.iter().map(String::as_str)));
        let body: String = rows.iter().map(row).collect();
        let table = format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n");
        self.body += &match rows.len() > LONG {
            true => format!("<details><summary>all {}</summary>\n{table}</details>\n", rows.len()),
            false => table,
        };
    }

    /// Values with their names.
    pub(super) fn named(&mut self, rows: &[(&str, String)]) {
        let row =
            |(name, value): &(&str, String)| format!("<tr><td>{}</td><td>{}</td></tr>\n", escape(name), escape(value));
        let body: String = rows.iter().map(row).collect();
        self.body += &format!("<table class=\"named\">\n<tbody>\n{body}</tbody>\n</table>\n");
    }

    /// A PNG; `alt` says what is to be seen on it.
    pub(super) fn picture(&mut self, png: &[u8], alt: &str) {
        let data = STANDARD.encode(png);
        self.body += &format!("<figure><img alt=\"{}\" src=\"data:image/png;base64,{data}\"></figure>\n", escape(alt));
    }

    pub(super) fn finish(self) -> String {
        let (title, body) = (escape(&self.title), self.body);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
        )
    }
}

/// Text for element content and quoted attributes. Control characters but line breaks are no text in HTML: they are shown escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c if c.is_control() && c != '\n' => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text_wherever_it_stands() {
        let evil = "<b>\"x\" & 'y'</b>";
        let mut page = Page::new(evil);
        page.heading(evil);
        page.small_heading(evil);
        page.paragraph(evil);
        page.verbatim(evil);
        page.list([&evil.to_owned()]);
        page.table(&[evil], &[vec![evil.into()]]);
        page.named(&[(evil, evil.into())]);
        page.picture(&[1, 2, 3], evil);
        let html = page.finish();
        assert_eq!(html.matches("&lt;b&gt;&quot;x&quot; &amp; &#39;y&#39;&lt;/b&gt;").count(), 12);
        assert!(!html.contains("<b>") && !html.contains("\"x\""));
        assert!(html.contains("src=\"data:image/png;base64,AQID\""));
        assert_eq!(escape("a\x1b[2J\n\u{9b}"), "a\\u{1b}[2J\n\\u{9b}");
    }
}
