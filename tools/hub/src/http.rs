//! Requests: where the token goes, which redirects are followed, what a status means.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy};

use crate::error::{Error, Result};
use crate::settings::Settings;

/// More in a row lead nowhere.
const MAX_REDIRECTS: usize = 10;
/// A longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of an answer that is read as a whole: the list of a repository with 100,000 files.
const MAX_WHOLE: u64 = 64 << 20;
/// Characters of a server's message that an error shows.
const MAX_MESSAGE: usize = 300;

/// Asks a hub, and the hosts that it sends to.
pub(crate) struct Client {
    agent: Agent,
    settings: Settings,
}

/// A file or a question, for the errors about it.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) id: &'a str,
    pub(crate) revision: &'a str,
}

/// An answer with a status that is no error.
pub(crate) struct Answer {
    /// Where it comes from in the end, to be shown.
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The headers alone, of what the hub itself answers.
    Head,
    /// All of it, wherever it lies.
    Body,
}

impl Client {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.certificates {
            let pem = std::fs::read(path).map_err(Error::io(path))?;
            let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                let reason = format!("expected certificates in PEM, found none in {}", path.display());
                return Err(Error::Setting { name: "SSL_CERT_FILE", reason });
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, where it is known whom the token is for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("crossrank/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy(&settings)?)
            .tls_config(tls.build())
            .timeout_connect(Some(settings.answer_timeout))
            .timeout_recv_response(Some(settings.answer_timeout))
            .timeout_per_read(Some(settings.download_timeout))
            .build()
            .new_agent();
        Ok(Self { agent, settings })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Does `work`, again while it fails in a way that may pass, with pauses in between; it has `failed` so often before.
    pub(crate) fn retrying<T>(&self, mut failed: u32, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match work() {
                Err(error)
                    if error.is_passing() && failed < self.settings.retries && self.pause(failed, &error) =>
                {
                    failed += 1;
                }
                result => return result,
            }
        }
    }

    /// Waits before the next time. False where the server asks for more patience than there is.
    pub(crate) fn pause(&self, failed: u32, error: &Error) -> bool {
        let asked = match error {
            Error::Status { retry_after: Some(time), .. } => *time,
            _ => Duration::ZERO,
        };
        if asked > LONGEST_PAUSE {
            return false;
        }
        if !self.settings.pause.is_zero() {
            let own = self.settings.pause.saturating_mul(1 << failed.min(8));
            thread::sleep(own.max(asked).min(LONGEST_PAUSE));
        }
        true
    }

    /// Asks once, with redirects. Any status but 2xx is an error, apart from 416 where a range was asked for; to `Head`
    /// also a redirect to another host is an answer.
    pub(crate) fn ask(
        &self,
        want: Want,
        url: &str,
        about: About<'_>,
        extra: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut url = url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let (response, ours) = self.once(want, &url, extra)?;
            let status = response.status();
            let target = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
                .then(|| response.headers().get("location").and_then(|target| target.to_str().ok()))
                .flatten()
                .map(|target| join(&url, target));
            if let Some(target) = target {
                let target = target.ok_or_else(|| strange(&url, "a redirect to no address"))?;
                if url.starts_with("https:") && !target.starts_with("https:") {
                    return Err(strange(&url, "a redirect out of https"));
                }
                if want == Want::Body || self.is_endpoint(&target) {
                    url = target;
                    continue;
                }
            } else if !status.is_success() {
                let ranged = extra.iter().any(|(name, _)| *name == "range");
                if !(ranged && status == StatusCode::RANGE_NOT_SATISFIABLE) {
                    return Err(self.error(&url, ours, about, response));
                }
            }
            let (parts, body) = response.into_parts();
            return Ok(Answer { url: shown(&url), status, headers: parts.headers, body });
        }
        Err(strange(&url, "too many redirects"))
    }

    /// One request; whether it went to the hub's own address.
    fn once(&self, want: Want, url: &str, extra: &[(&str, &str)]) -> Result<(Response<Body>, bool)> {
        let ours = self.is_endpoint(url);
        let mut request = match want {
            Want::Head => self.agent.head(url),
            Want::Body => self.agent.get(url),
        };
        // Sizes and ranges are those of the file itself.
        request = request.header("accept-encoding", "identity");
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| ours) {
            request = request.header("authorization", token.header());
        }
        let response = request.call().map_err(|error| connection(url, &error))?;
        Ok((response, ours))
    }

    /// Whether an address is of the host that models are asked of, by the same scheme and port.
    fn is_endpoint(&self, url: &str) -> bool {
        matches!((origin(url), origin(&self.settings.endpoint)), (Some(a), Some(b)) if a == b)
    }

    /// What a status means. `X-Error-Code` is the hub's own word.
    fn error(&self, url: &str, ours: bool, about: About<'_>, response: Response<Body>) -> Error {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let (id, token) = (about.id.to_owned(), ours && self.settings.token.is_some());
        let endpoint = shown(&self.settings.endpoint);
        let status = response.status().as_u16();
        let message = header("x-error-message").unwrap_or_default();
        match (header("x-error-code"), status) {
            (Some("GatedRepo"), _) => return Error::Gated { endpoint, id, token },
            (Some("RevisionNotFound"), _) => {
                return Error::NoRevision { id, revision: about.revision.to_owned() };
            }
            // A wrong token hides what everybody may see.
            (_, 401) if token && message.contains("Invalid credentials") => {
                return Error::Token { url: shown(url), status, token };
            }
            (Some("RepoNotFound"), _) => return Error::NoRepository { endpoint, id, token },
            (_, 401 | 403) if ours => return Error::Token { url: shown(url), status, token },
            _ => {}
        }
        let retry_after =
            header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut message: String = message.chars().take(MAX_MESSAGE).collect();
        if status == 429 {
            let wait =
                retry_after.map_or("later".to_owned(), |time| format!("in {} seconds", time.as_secs()));
            let more = if token { "" } else { ", or set HF_TOKEN: accounts have higher limits" };
            message = format!("too many requests; try again {wait}{more}");
        }
        // To a store, 403 is a signed link that has run out: the next time there is a new one.
        let passing = matches!(status, 408 | 429 | 500..=599) || (status == 403 && !ours);
        Error::Status { url: shown(url), status, message, retry_after, passing }
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All of the body, which must not be large.
    pub(crate) fn whole(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut reader = self.body.into_with_config().limit(MAX_WHOLE).reader();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(broken(&self.url, &error)),
        }
    }
}

fn proxy(settings: &Settings) -> Result<Option<Proxy>> {
    let Some(address) = &settings.proxy else { return Ok(None) };
    let wrong = |_| {
        let reason = "expected the address of a proxy, http://host:port".to_owned();
        Error::Setting { name: "HTTPS_PROXY", reason }
    };
    let proxy = Proxy::new(address).map_err(wrong)?;
    let mut with = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    with = proxy.username().into_iter().fold(with, |with, name| with.username(name));
    with = proxy.password().into_iter().fold(with, |with, word| with.password(word));
    with = settings.no_proxy.iter().fold(with, |with, entry| with.no_proxy(entry));
    Ok(Some(with.build().map_err(wrong)?))
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let default = if scheme == "https" { 443 } else { 80 };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(default)))
}

/// Where a redirect leads.
fn join(base: &str, target: &str) -> Option<String> {
    let is_address = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    let scheme = base.find("://")?;
    let host_end = base[scheme + 3..].find('/').map_or(base.len(), |at| scheme + 3 + at);
    let joined = if is_address(target) {
        target.to_owned()
    } else if target.starts_with("//") {
        format!("{}:{target}", &base[..scheme])
    } else if target.starts_with('/') {
        format!("{}{target}", &base[..host_end])
    } else if target.is_empty() || target.contains("://") {
        return None;
    } else {
        let path = base.split(['?', '#']).next()?;
        format!("{}/{target}", &path[..path.rfind('/').filter(|at| *at >= host_end).unwrap_or(path.len())])
    };
    origin(&joined).map(|_| joined)
}

/// An address as it may be shown: queries are signatures, and before an `@` there may be a password.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or_default();
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => url.to_owned(),
    }
}

/// A part of an address, with all escaped that could be read as something else.
pub(crate) fn escaped(text: &str, keep_slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            b'/' if keep_slashes => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn strange(url: &str, found: &str) -> Error {
    Error::NotAHub { url: shown(url), expected: "an answer", found: found.to_owned() }
}

/// Why there is no answer.
fn connection(url: &str, error: &ureq::Error) -> Error {
    use ureq::Error as E;
    let passing = !matches!(
        error,
        E::BadUri(_) | E::Tls(_) | E::Pem(_) | E::Rustls(_) | E::InvalidProxyUrl | E::Http(_)
    );
    Error::Connection { url: shown(url), reason: format!("there is no answer: {error}"), passing }
}

/// Why a body ends too soon.
pub(crate) fn broken(url: &str, error: &io::Error) -> Error {
    Error::Connection { url: url.to_owned(), reason: format!("the connection broke: {error}"), passing: true }
}

#[cfg(test)]
mod tests {
    use super::{escaped, join, origin, shown};

    #[test]
    fn redirects_lead_where_they_say() {
        let to = |target| join("https://h:1/a/b?q=1", target);
        for (target, expected) in [
            ("https://o/x?s", "https://o/x?s"),
            ("//o/x", "https://o/x"),
            ("/x", "https://h:1/x"),
            ("x", "https://h:1/a/x"),
        ] {
            assert_eq!(to(target).as_deref(), Some(expected), "{target}");
        }
        assert_eq!(join("https://h", "x").as_deref(), Some("https://h/x"));
        for target in ["", "ftp://o/x", "https://", "https:///x", "file:///etc/passwd"] {
            assert_eq!(to(target), None, "{target}");
        }
    }

    #[test]
    fn hosts_differ_by_scheme_name_and_port() {
        let same = |a, b| origin(a).unwrap() == origin(b).unwrap();
        assert!(same("https://h/a", "https://H:443/b"));
        assert!(same("http://h:80", "http://h/b"));
        for other in ["http://h", "https://h:444", "https://h.o", "https://o.h", "https://h@o"] {
            assert!(!same("https://h", other), "{other}");
        }
    }

    #[test]
    fn neither_signatures_nor_passwords_are_shown() {
        assert_eq!(shown("https://user:word@h/a/b@c?Signature=1#x"), "https://h/a/b@c");
        assert_eq!(shown("https://u:w@h"), "https://h");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escaped("1_Dense/a b?#%é.json", true), "1_Dense/a%20b%3F%23%25%C3%A9.json");
    }
}
