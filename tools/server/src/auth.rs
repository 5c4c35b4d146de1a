//! Keys.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::problem::{Kind, Problem};

/// The keys of which a client must send one. Their digests are compared, all of them and wholly, so that the time says
/// nothing of a key, not even its length.
pub(crate) struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub(crate) fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| digest(key.as_bytes())).collect())
    }

    /// Without keys every header is passed over, an empty one and `Bearer None` among them, which clients send.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
        let given = digest(key_of(given));
        let found = self.0.iter().fold(Choice::from(0), |found, key| found | key.ct_eq(&given));
        match bool::from(found) {
            true => Ok(()),
            false => Err(Problem::new(
                Kind::Key,
                "no api key, or a wrong one: expected `Authorization: Bearer KEY`",
            )),
        }
    }
}

fn key_of(header: &[u8]) -> &[u8] {
    const SCHEME: &[u8] = b"bearer ";
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(SCHEME) => key.trim_ascii(),
        _ => &[],
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_of_the_keys_opens_and_nothing_else() {
        let keys = Keys::new(&["secret".into(), "other".into()]);
        let check = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            keys.check(&headers).is_ok()
        };
        assert!(check("Bearer secret") && check("bearer  other"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secrets",
            "secret",
            "Basic secret",
            "Bearer None",
        ] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        assert!(Keys::new(&[]).check(&HeaderMap::new()).is_ok());
    }
}
