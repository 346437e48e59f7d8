//! What a token of another issuer says: read as strictly as can be, since another parser may read it too.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::super::secrets::sha256_hex;
use super::SingleUse;
use crate::clock::Millis;
use crate::config;
use crate::oci::strict_json;

/// Bytes of a token at most.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Bytes of a subject, a key's id and a token's id at most.
const MAX_ID_BYTES: usize = 512;
/// Letters of a foreign text that messages repeat at most.
const SHOWN_LETTERS: usize = 200;
/// The claims that say whose a token is, for whoever looks why no rule fits.
const SUMMARY: [&str; 4] = ["sub", "repository", "project_path", "event_name"];
/// Events of GitHub whose workflows run with the rights of the repository on behalf of whoever opened a pull request.
const FOREIGN_EVENTS: [&str; 2] = ["pull_request_target", "workflow_run"];

/// Whether a letter is not seen, or makes others be seen in another order: a log would say something else than it reads.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}

/// A foreign text as messages repeat it, between quotes.
pub(in super::super) fn shown(text: &str) -> String {
    text.chars()
        .filter(|letter| !is_hidden(*letter) && *letter != '"')
        .take(SHOWN_LETTERS)
        .collect()
}

/// Seconds of the configuration as tokens have them.
fn seconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A token that anybody may have made.
pub(super) struct Unverified {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    pub(super) claims: Claims,
}

impl Unverified {
    pub(super) fn read(token: &str) -> Result<Self, String> {
        const NO_TOKEN: &str = "the subject_token is no signed JWT";
        if token.len() > MAX_TOKEN_BYTES {
            return Err(format!(
                "the subject_token may have {MAX_TOKEN_BYTES} bytes"
            ));
        }
        // The library knows no algorithm "none", and leaves `jwk`, `jku` and `x5u` alone.
        let header = jsonwebtoken::decode_header(token).map_err(|_| NO_TOKEN)?;
        if let Some(kind) = &header.typ
            && !kind.eq_ignore_ascii_case("JWT")
        {
            let kind = shown(kind);
            return Err(format!(
                "the subject_token is of the type \"{kind}\", and has to be a plain JWT"
            ));
        }
        if header.crit.is_some() {
            return Err(String::from(
                "the subject_token has a header crit, of which nothing is understood here",
            ));
        }
        let key_id = header
            .kid
            .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        let key_id = key_id.ok_or("the subject_token does not name the key it is signed with")?;
        let payload = token.split('.').nth(1).ok_or(NO_TOKEN)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| NO_TOKEN)?;
        let payload = String::from_utf8(payload).map_err(|_| NO_TOKEN)?;
        let claims = strict_json(&payload)
            .map_err(|error| format!("the claims of the subject_token cannot be read: {error}"))?;
        if !claims.is_object() {
            return Err(NO_TOKEN.to_owned());
        }
        Ok(Self {
            algorithm: header.alg,
            key_id,
            claims: Claims(claims),
        })
    }
}

/// The claims of a token: an object without a key that stands twice.
pub(super) struct Claims(Value);

impl Claims {
    /// A claim by its name, or by a JSON pointer (RFC 6901), if it is a text.
    pub(super) fn text(&self, claim: &str) -> Option<&str> {
        let value = if claim.starts_with('/') {
            self.0.pointer(claim)
        } else {
            self.0.get(claim)
        };
        value?.as_str()
    }

    /// RFC 7519 section 4.1.3: one audience, or a list of them.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(list)) => list.iter().any(|one| one.as_str() == Some(audience)),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }

    pub(super) fn subject(&self) -> Result<&str, String> {
        let fine =
            |text: &&str| (1..=MAX_ID_BYTES).contains(&text.len()) && !text.contains(is_hidden);
        self.text("sub").filter(fine).ok_or_else(|| {
            format!("the token has no sub, or one that has not 1 to {MAX_ID_BYTES} bytes of letters that can be seen")
        })
    }

    /// The event that a job of GitHub runs for, if a rule has to name it: code of a stranger may run there.
    pub(super) fn foreign_event(&self) -> Option<&str> {
        self.text("event_name")
            .filter(|event| FOREIGN_EVENTS.contains(event))
    }

    /// What a person needs to see why no rule fits.
    pub(super) fn summary(&self) -> String {
        let said: Vec<String> = SUMMARY
            .iter()
            .filter_map(|claim| Some(format!("{claim} is \"{}\"", shown(self.text(claim)?))))
            .collect();
        said.join(", ")
    }

    /// A time in seconds; RFC 7519 section 2 allows fractions.
    fn time(&self, claim: &str) -> Result<Option<i64>, String> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a time beyond the range becomes its end, which is far in the past or future all the same"
        )]
        let seconds = value
            .as_i64()
            .or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
        seconds
            .map(Some)
            .ok_or_else(|| format!("the claim {claim} of the token is no time"))
    }

    fn end(&self) -> Result<i64, String> {
        self.time("exp")?
            .ok_or_else(|| String::from("the token has no exp: it would never end"))
    }

    fn issued(&self) -> Result<i64, String> {
        self.time("iat")?
            .ok_or_else(|| String::from("the token does not say when it was issued"))
    }

    pub(super) fn check_times(&self, issuer: &config::Issuer, now: i64) -> Result<(), String> {
        let leeway = seconds(issuer.leeway_seconds);
        let begin = self.time("nbf")?;
        let issued = self.issued()?;
        if now >= self.end()?.saturating_add(leeway) {
            return Err(String::from(
                "the token has expired: get a new one from its issuer",
            ));
        }
        if begin.is_some_and(|begin| now < begin.saturating_sub(leeway))
            || now < issued.saturating_sub(leeway)
        {
            return Err(String::from(
                "the token is not valid yet; the clocks may differ",
            ));
        }
        let age = seconds(issuer.max_token_age_seconds);
        if now >= issued.saturating_add(age).saturating_add(leeway) {
            return Err(format!(
                "the token was issued more than {age} s ago: get a new one from its issuer"
            ));
        }
        Ok(())
    }

    /// What to remember of a token that counts once, whose times are good.
    pub(super) fn single_use(&self, issuer: &config::Issuer) -> Result<SingleUse, String> {
        let id = self
            .text("jti")
            .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        let id = id.ok_or("each token of this issuer counts once, and this one has no jti")?;
        // It ends no later, whatever the configuration says after the next start.
        let oldest = self
            .issued()?
            .saturating_add(seconds(config::LONGEST_TOKEN_AGE_SECONDS));
        let until = self
            .end()?
            .min(oldest)
            .saturating_add(seconds(issuer.leeway_seconds));
        // Two clusters may call themselves by one name and differ in the audience.
        let (of, audience) = (&issuer.issuer, &issuer.audience);
        Ok(SingleUse {
            id: sha256_hex(&format!("{of}\0{audience}\0{id}")),
            until: Millis(until.saturating_mul(1000)),
        })
    }
}
