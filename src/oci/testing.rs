//! Texts for property tests: what a grammar makes, and what misses it by one mistake.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::string::string_regex;
use regex::Regex;

/// A grammar as it stands in its specification, for whole texts.
pub(crate) fn whole(grammar: &str) -> Regex {
    Regex::new(&format!(r"\A(?:{grammar})\z")).expect("the grammar is a regex")
}

/// Texts of a grammar, if its repetitions have bounds; else they would take long to make.
pub(crate) fn made_by(grammar: &str) -> impl Strategy<Value = String> {
    string_regex(grammar).expect("the grammar is a regex")
}

/// Texts of a grammar with one mistake in them: a character left out, put in, doubled, or changed into another one.
pub(crate) fn near(grammar: &str) -> impl Strategy<Value = String> {
    let mistakes = prop_oneof![
        4 => Just(String::new()),
        6 => "[ -~]",
        2 => "[\\x00-\\x1f\\x7f]",
        // Characters that some readers take for ASCII: full-width, Kelvin, long s, dotted I, Arabic digits.
        2 => "[％／．：Ｋſİ١é\u{202e}\u{feff}]",
    ];
    (
        made_by(grammar),
        any::<Index>(),
        mistakes,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(text, at, mistake, replaces, doubles)| {
            let mut characters: Vec<char> = text.chars().collect();
            let place = at.index(characters.len() + 1);
            let mistake = match characters.get(place) {
                Some(same) if doubles => same.to_string(),
                _ => mistake,
            };
            if replaces && place < characters.len() {
                characters.remove(place);
            }
            let (before, after) = characters.split_at(place.min(characters.len()));
            let text = |part: &[char]| part.iter().collect::<String>();
            format!("{}{mistake}{}", text(before), text(after))
        })
}
