//! Operators under kiln's rules: `~` writes values as kiln does, nothing grows without end, and secrets are not compared.
//!
//! minijinja offers no say in what its operators do, but every operand may pass through a filter. So before a template is compiled,
//! operands of `~`, `+`, `*` and of comparisons are put into parentheses with a hidden filter behind them. What is inserted is
//! remembered, so that errors still point into what the user wrote.

use super::scan::{Placed, Token};

/// Gives an operand of `~` as text.
pub(super) const TEXT: &str = "__kiln_text";
/// Lets an operand or a product through, unless it has grown too large.
pub(super) const PART: &str = "__kiln_part";
/// Lets an operand of a comparison through, unless a secret is in it.
pub(super) const PLAIN: &str = "__kiln_plain";

/// Code with hidden filters in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guarded {
    /// What is compiled.
    pub(super) code: String,
    /// How much was inserted, and where in the original, in order.
    inserted: Vec<(usize, usize)>,
}

impl Guarded {
    /// The code as it stands.
    pub(super) fn plain(code: &str) -> Self {
        Self {
            code: code.to_owned(),
            inserted: Vec::new(),
        }
    }

    /// The place in the original that a place in the code means.
    pub(super) fn original(&self, at: usize) -> usize {
        let mut shift = 0;
        for &(place, length) in &self.inserted {
            if at <= place + shift {
                break;
            }
            if at < place + shift + length {
                return place;
            }
            shift += length;
        }
        at - shift
    }
}

/// Puts the hidden filters into `code`, whose expressions have these tokens, with places relative to `code`.
pub(super) fn guard<'a>(code: &str, blocks: impl IntoIterator<Item = &'a [Placed]>) -> Guarded {
    let mut inserts = Vec::new();
    for tokens in blocks {
        let mut reader = Reader {
            tokens,
            at: 0,
            inserts: &mut inserts,
        };
        while reader.at < tokens.len() {
            reader.level();
            // A bracket that nothing opened: the template is wrong, and its compiler says so.
            reader.at += 1;
        }
    }
    // At one place, what closes stands before what opens, and the inner before the outer.
    inserts.sort_by_key(|insert: &Insert| (insert.at, insert.opens, insert.rank()));
    let mut guarded = Guarded::default();
    let mut done = 0;
    for insert in inserts {
        guarded.code.push_str(&code[done..insert.at]);
        done = insert.at;
        let before = guarded.code.len();
        if insert.opens {
            guarded.code.push('(');
        } else {
            guarded.code.push_str(")|");
            guarded.code.push_str(insert.filter);
        }
        guarded
            .inserted
            .push((insert.at, guarded.code.len() - before));
    }
    guarded.code.push_str(&code[done..]);
    guarded
}

/// One half of a pair of parentheses.
struct Insert {
    at: usize,
    opens: bool,
    filter: &'static str,
    /// The length of the operand: of two that end at the same place the shorter closes first.
    length: usize,
}

impl Insert {
    fn rank(&self) -> (usize, u8) {
        let tight = match self.filter {
            PART => 0,
            TEXT => 1,
            _ => 2,
        };
        if self.opens {
            (usize::MAX - self.length, 2 - tight)
        } else {
            (self.length, tight)
        }
    }
}

/// What stands between two boundaries of a level of brackets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Operand,
    /// A `-` that belongs to the operand after it.
    Prefix,
    /// `*`, as opposed to [`Piece::Divide`].
    Times,
    /// `/`, `//`, `%`, `**`.
    Divide,
    /// `~`.
    Join,
    /// `+`, as opposed to [`Piece::Minus`].
    Plus,
    Minus,
    /// `==`, `in`, …
    Compare,
}

#[derive(Clone, Copy)]
struct Part {
    piece: Piece,
    start: usize,
    end: usize,
}

struct Reader<'a> {
    tokens: &'a [Placed],
    at: usize,
    inserts: &'a mut Vec<Insert>,
}

impl Reader<'_> {
    /// Reads up to the bracket that closes this level, or the end.
    fn level(&mut self) {
        let mut run: Vec<Part> = Vec::new();
        let mut in_for = false;
        while let Some(token) = self.tokens.get(self.at) {
            let start = token.range.start;
            let part = |piece, end| Part { piece, start, end };
            match &token.token {
                Token::Sign('(' | '[' | '{') => {
                    self.at += 1;
                    self.level();
                    let last = self.at.min(self.tokens.len() - 1);
                    run.push(part(Piece::Operand, self.tokens[last].range.end));
                }
                Token::Sign(')' | ']' | '}') => break,
                Token::Sign(sign) => match self.sign(*sign, run.last()) {
                    Some(piece) => run.push(part(piece, self.tokens[self.at].range.end)),
                    None => self.finish(&mut run),
                },
                Token::Name(name) => match self.name(name, &mut in_for) {
                    Some(piece) => run.push(part(piece, self.tokens[self.at].range.end)),
                    None => self.finish(&mut run),
                },
                Token::Text(_) | Token::Number => {
                    run.push(part(Piece::Operand, token.range.end));
                }
            }
            self.at += 1;
        }
        self.finish(&mut run);
    }

    fn next_is(&self, sign: char) -> bool {
        let here = &self.tokens[self.at];
        self.tokens.get(self.at + 1).is_some_and(|next| {
            next.token == Token::Sign(sign) && next.range.start == here.range.end
        })
    }

    /// What a sign is; `None`: a boundary. Signs of two characters are taken whole.
    fn sign(&mut self, sign: char, before: Option<&Part>) -> Option<Piece> {
        let after_operand = before.is_some_and(|part| part.piece == Piece::Operand);
        match sign {
            '=' | '!' | '<' | '>' => {
                if self.next_is('=') {
                    self.at += 1;
                    return Some(Piece::Compare);
                }
                matches!(sign, '<' | '>').then_some(Piece::Compare)
            }
            ',' | ':' => None,
            '~' => Some(Piece::Join),
            '+' if after_operand => Some(Piece::Plus),
            '-' if after_operand => Some(Piece::Minus),
            '+' | '-' => Some(Piece::Prefix),
            '*' | '/' if self.next_is(sign) => {
                self.at += 1;
                Some(Piece::Divide)
            }
            '*' => Some(Piece::Times),
            '/' | '%' => Some(Piece::Divide),
            _ => Some(Piece::Operand),
        }
    }

    /// What a name is; `None`: a boundary.
    fn name(&mut self, name: &str, in_for: &mut bool) -> Option<Piece> {
        let word = |at: Option<usize>| match at.and_then(|at| self.tokens.get(at)) {
            Some(Placed {
                token: Token::Name(name),
                ..
            }) => Some(name.as_str()),
            _ => None,
        };
        let before = self.at.checked_sub(1);
        let follows_sign =
            before.is_some_and(|at| matches!(self.tokens[at].token, Token::Sign('.' | '|')));
        let follows_is = word(before) == Some("is")
            || word(before) == Some("not") && word(self.at.checked_sub(2)) == Some("is");
        if follows_sign || follows_is {
            return Some(Piece::Operand);
        }
        match name {
            "for" => {
                *in_for = true;
                None
            }
            // The name that a loop gives its items is no operand.
            "in" if std::mem::take(in_for) => None,
            "in" => Some(Piece::Compare),
            "not" if word(Some(self.at + 1)) == Some("in") => {
                self.at += 1;
                Some(Piece::Compare)
            }
            "and" | "or" | "not" | "if" | "else" | "elif" | "set" | "with" | "call" | "filter"
            | "do" | "recursive" | "macro" | "block" | "include" | "import" | "from"
            | "extends" | "as" | "autoescape" => None,
            _ => Some(Piece::Operand),
        }
    }

    /// Wraps what a run of operands and operators needs wrapped.
    fn finish(&mut self, run: &mut Vec<Part>) {
        let parts = std::mem::take(run);
        let is = |piece| move |part: &Part| part.piece == piece;
        let compared = parts.iter().any(is(Piece::Compare));
        for side in parts.split(is(Piece::Compare)) {
            if compared {
                self.wrap(side, PLAIN);
            }
            let summed = side.iter().any(is(Piece::Plus));
            for term in side.split(|p| matches!(p.piece, Piece::Plus | Piece::Minus)) {
                if summed {
                    self.wrap(term, PART);
                }
                let joined = term.iter().any(is(Piece::Join));
                for piece in term.split(is(Piece::Join)) {
                    if joined {
                        self.wrap(piece, TEXT);
                    }
                    if piece.iter().any(is(Piece::Times)) {
                        self.wrap(piece, PART);
                    }
                }
            }
        }
    }

    fn wrap(&mut self, parts: &[Part], filter: &'static str) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
            return;
        };
        let length = last.end - first.start;
        for (at, opens) in [(first.start, true), (last.end, false)] {
            self.inserts.push(Insert {
                at,
                opens,
                filter,
                length,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan;
    use super::*;

    fn guarded(code: &str) -> Guarded {
        guard(code, [scan::bare(code, 0..code.len()).as_slice()])
    }

    /// The code with each hidden filter as one letter.
    fn shown(code: &str) -> String {
        guarded(code)
            .code
            .replace(&format!("|{TEXT}"), "T")
            .replace(&format!("|{PART}"), "P")
            .replace(&format!("|{PLAIN}"), "S")
    }

    #[test]
    fn operands_are_wrapped_as_the_operators_bind() {
        for (code, expected) in [
            ("a.b | upper", "a.b | upper"),
            ("a ~ b", "(a)T ~ (b)T"),
            ("a ~ b * c ~ -d", "(a)T ~ ((b * c)P)T ~ (-d)T"),
            (
                "a ~ b + c - d ~ e",
                "((a)T ~ (b)T)P + (c)P - ((d)T ~ (e)T)P",
            ),
            ("a - b", "a - b"),
            ("1 ~ --3 - -a", "(1)T ~ (--3)T - -a"),
            ("-a + b ** 2", "(-a)P + (b ** 2)P"),
            ("a == b ~ c and not d", "(a)S == ((b)T ~ (c)T)S and not d"),
            (
                "x not in y if a <= 1 else b != c",
                "(x)S not in (y)S if (a)S <= (1)S else (b)S != (c)S",
            ),
            ("f(x=a ~ b, y=[c ~ d])", "f(x=(a)T ~ (b)T, y=[(c)T ~ (d)T])"),
            ("{'k': a ~ b}[c ~ d]", "{'k': (a)T ~ (b)T}[(c)T ~ (d)T]"),
            ("l[1:a + b]", "l[1:(a)P + (b)P]"),
            ("x is not none ~ y", "(x is not none)T ~ (y)T"),
            ("x is in y", "x is in y"),
            ("a.in ~ b['if']", "(a.in)T ~ (b['if'])T"),
            ("1e-5 ~ 'a ~ b'", "(1e-5)T ~ ('a ~ b')T"),
            ("a < b < c", "(a)S < (b)S < (c)S"),
            (
                "a | default(b ~ c) ~ d",
                "(a | default((b)T ~ (c)T))T ~ (d)T",
            ),
            ("a // b % c", "a // b % c"),
        ] {
            assert_eq!(shown(code), expected, "{code}");
        }
    }

    #[test]
    fn the_names_of_a_loop_are_left_alone() {
        let text = "{% for a, b in c ~ d if a in b %}{% set x = a ~ b -%}{{- x ~ 1 -}}{% endfor %}";
        let blocks = scan::blocks(text, true);
        let code = guard(text, blocks.iter().map(Vec::as_slice)).code;
        let code = code
            .replace(&format!("|{TEXT}"), "T")
            .replace(&format!("|{PLAIN}"), "S");
        assert_eq!(
            code,
            "{% for a, b in (c)T ~ (d)T if (a)S in (b)S %}{% set x = (a)T ~ (b)T -%}{{- (x)T ~ (1)T -}}{% endfor %}"
        );
    }

    #[test]
    fn places_in_the_code_lead_back_to_what_was_written() {
        let code = "ab ~ cd == e";
        let guarded = guarded(code);
        for (at, c) in code.char_indices().filter(|(_, c)| c.is_alphabetic()) {
            let there = guarded
                .code
                .char_indices()
                .filter(|(_, found)| *found == c)
                .map(|(there, _)| guarded.original(there))
                .any(|there| there == at);
            assert!(there, "{c}: {guarded:?}");
        }
        assert_eq!(guarded.original(guarded.code.len()), code.len());
        assert_eq!(guarded.original(0), 0);
    }
}
