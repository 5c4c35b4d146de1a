//! Settings, from the environment variables that Python's `huggingface_hub` reads.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::HeaderValue;

use crate::error::{Error, Result};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// What a server may take to answer, and to send some more, as Python waits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where models come from and where they are kept.
///
/// A variable that is empty counts as one that is not set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The hub's address, without a slash at its end: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The folder of the cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in `huggingface` in `XDG_CACHE_HOME` or
    /// `~/.cache`.
    pub cache: PathBuf,
    /// Who asks: `HF_TOKEN`, else what is in the file `HF_TOKEN_PATH`, `token` in `HF_HOME`; nobody where
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN` is true.
    pub token: Option<Token>,
    /// The hub is not asked, the cache must do: `HF_HUB_OFFLINE`, or `TRANSFORMERS_OFFLINE` where it is not set.
    pub offline: bool,
    /// Snapshots are links to blobs; files where `HF_HUB_DISABLE_SYMLINKS` is true, or the system has no links.
    pub symlinks: bool,
    /// How long to wait for the answer to a question: `HF_HUB_ETAG_TIMEOUT`, in seconds.
    pub answer_timeout: Duration,
    /// How long to wait for more of a file: `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds.
    pub download_timeout: Duration,
    /// How often what has failed is tried again, while nothing more arrives.
    pub retries: u32,
    /// The pause before the first of them; each is twice the one before. Zero is for tests: then nothing waits.
    pub pause: Duration,
    /// `HTTPS_PROXY` or `HTTP_PROXY`, as the endpoint is, else `ALL_PROXY`; also in small letters.
    pub(crate) proxy: Option<String>,
    /// `NO_PROXY`, its entries.
    pub(crate) no_proxy: Vec<String>,
    /// Certificates to trust in place of those inside this program, in PEM: `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`.
    pub(crate) certificates: Option<PathBuf>,
}

impl Settings {
    /// Reads them from an environment: `get` gives the value of a variable.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] where a value cannot be used, or where there is no home folder and nothing names the cache;
    /// [`Error::Io`] where there is a token file that cannot be read.
    pub fn from_env(get: impl Fn(&str) -> Option<OsString>) -> Result<Self> {
        let env = Env { get: &get };
        let home = env.home_of_the_hub();
        let cache = env.path("HF_HUB_CACHE").or_else(|| env.path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| home.as_ref().map(|home| home.join("hub"))).ok_or(Error::Setting {
            name: "HF_HOME",
            reason: "expected a folder for the cache: there is no HOME to have one in".into(),
        })?;
        let endpoint = env.text("HF_ENDPOINT")?.unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            let reason = format!("expected an address, https://..., found `{}`", endpoint.escape_debug());
            return Err(Error::Setting { name: "HF_ENDPOINT", reason });
        }
        let offline = match env.value("HF_HUB_OFFLINE") {
            Some(_) => env.is_true("HF_HUB_OFFLINE"),
            None => env.is_true("TRANSFORMERS_OFFLINE"),
        };
        let of_scheme = if endpoint.starts_with("https:") {
            ["HTTPS_PROXY", "https_proxy"]
        } else {
            ["HTTP_PROXY", "http_proxy"]
        };
        let proxy =
            of_scheme.into_iter().chain(["ALL_PROXY", "all_proxy"]).find_map(|name| env.text(name).ok()?);
        let no_proxy = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| env.text(name).ok()?);
        let entries = no_proxy.iter().flat_map(|list| list.split(',')).map(|entry| entry.trim().to_owned());
        Ok(Self {
            cache,
            token: env.token(home.as_deref())?,
            offline,
            symlinks: !env.is_true("HF_HUB_DISABLE_SYMLINKS"),
            answer_timeout: env.seconds("HF_HUB_ETAG_TIMEOUT")?,
            download_timeout: env.seconds("HF_HUB_DOWNLOAD_TIMEOUT")?,
            retries: 4,
            pause: Duration::from_secs(1),
            proxy,
            no_proxy: entries.filter(|entry| !entry.is_empty()).collect(),
            certificates: env.path("SSL_CERT_FILE").or_else(|| env.path("REQUESTS_CA_BUNDLE")),
            endpoint,
        })
    }
}

/// Who asks. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// The value of the header that carries it.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// None where there is nothing but white space.
    fn parse(name: &'static str, text: &str) -> Result<Option<Self>> {
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let header = visible.then(|| HeaderValue::from_str(&format!("Bearer {text}")).ok()).flatten();
        let reason = "expected a token, found one with characters that it cannot have".to_owned();
        let mut header = header.ok_or(Error::Setting { name, reason })?;
        header.set_sensitive(true);
        Ok(Some(Self(header)))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

struct Env<'a> {
    get: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Env<'_> {
    fn value(&self, name: &str) -> Option<OsString> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str) -> Result<Option<String>> {
        let text = self.value(name).map(OsString::into_string).transpose();
        text.map_err(|_| Error::Setting { name, reason: "expected text in UTF-8".into() })
    }

    /// As Python reads it.
    fn is_true(&self, name: &str) -> bool {
        let value = self.value(name).map(|value| value.to_string_lossy().to_uppercase());
        value.is_some_and(|value| matches!(&*value, "1" | "ON" | "YES" | "TRUE"))
    }

    fn seconds(&self, name: &'static str) -> Result<Duration> {
        let Some(text) = self.text(name)? else { return Ok(DEFAULT_TIMEOUT) };
        match text.trim().parse() {
            // Python takes 0 for the default, too.
            Ok(0) => Ok(DEFAULT_TIMEOUT),
            Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
            _ => {
                let reason =
                    format!("expected whole seconds, at most 86400, found `{}`", text.escape_debug());
                Err(Error::Setting { name, reason })
            }
        }
    }

    /// A path, with `~` at its beginning and variables within it put in, as Python does.
    fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.value(name)?;
        // What is no UTF-8 is taken as it is.
        let Some(text) = value.to_str() else { return Some(value.into()) };
        let home = || self.value("HOME").and_then(|home| home.into_string().ok());
        let text = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => home().map(|home| home + rest),
            _ => None,
        }
        .unwrap_or_else(|| text.to_owned());
        Some(self.with_variables(&text).into())
    }

    /// Puts values in place of `$NAME` and `${NAME}`; what is not set stays as it is written.
    fn with_variables(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let (name, end) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
                Some((name, _)) => (name, at + 1 + name.len() + 2),
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let length = behind.find(|c| !is_name(c)).unwrap_or(behind.len());
                    (&behind[..length], at + 1 + length)
                }
            };
            match (self.get)(name).and_then(|value| value.into_string().ok()).filter(|_| !name.is_empty()) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..end]),
            }
            rest = &rest[end..];
        }
        out + rest
    }

    /// The folder of tokens and caches.
    fn home_of_the_hub(&self) -> Option<PathBuf> {
        let user = self.value("HOME").or_else(|| self.value("USERPROFILE"));
        let caches = self.path("XDG_CACHE_HOME").or_else(|| user.map(|user| Path::new(&user).join(".cache")));
        self.path("HF_HOME").or_else(|| caches.map(|caches| caches.join("huggingface")))
    }

    fn token(&self, home: Option<&Path>) -> Result<Option<Token>> {
        if self.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            return Ok(None);
        }
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(text) = self.text(name)? {
                return Token::parse(name, &text);
            }
        }
        let path = self.path("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
        let Some(path) = path else { return Ok(None) };
        match fs::read_to_string(&path) {
            Ok(text) => Token::parse("HF_TOKEN_PATH", &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use super::Settings;
    use crate::error::Result;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    fn token(variables: &[(&str, &str)]) -> Option<String> {
        let token = read(variables).unwrap().token?;
        Some(token.header().to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned())
    }

    #[test]
    fn the_cache_is_pythons() {
        let is = |variables: &[_], expected: &str| {
            assert_eq!(read(variables).unwrap().cache, PathBuf::from(expected), "{variables:?}");
        };
        is(&[("HOME", "/h")], "/h/.cache/huggingface/hub");
        is(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub");
        is(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub");
        is(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c");
        is(&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old");
        is(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")], "/c");
        is(&[("HOME", "/h"), ("HF_HOME", "~/f")], "/h/f/hub");
        is(&[("HOME", "/h"), ("HF_HUB_CACHE", "~")], "/h");
        is(&[("D", "/d"), ("HF_HOME", "$D/${D}x/$NONE/${NONE}/$")], "/d//dx/$NONE/${NONE}/$/hub");
        // Empty is not set: Python would put the cache into the current folder.
        is(&[("HOME", "/h"), ("XDG_CACHE_HOME", ""), ("HF_HOME", "")], "/h/.cache/huggingface/hub");
        assert!(read(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn offline_is_pythons() {
        let is = |variables: &[(&str, &str)], expected| {
            let variables = [&[("HOME", "/h")], variables].concat();
            assert_eq!(read(&variables).unwrap().offline, expected, "{variables:?}");
        };
        is(&[], false);
        for (value, expected) in
            [("1", true), ("yes", true), ("True", true), ("on", true), ("0", false), ("2", false)]
        {
            is(&[("HF_HUB_OFFLINE", value)], expected);
        }
        is(&[("TRANSFORMERS_OFFLINE", "1")], true);
        is(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], false);
    }

    #[test]
    fn the_token_is_pythons_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let home = ("HF_HOME", home);
        assert_eq!(token(&[home]), None);
        let other = file("other", " hf_other\n");
        file("token", "hf_file\r\n");
        assert_eq!(token(&[home]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[home, ("HF_TOKEN_PATH", &other)]).as_deref(), Some("hf_other"));
        assert_eq!(token(&[home, ("HF_TOKEN", " hf_env ")]).as_deref(), Some("hf_env"));
        assert_eq!(token(&[home, ("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("hf_old"));
        assert_eq!(token(&[home, ("HF_TOKEN", "hf_env"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);

        let settings = read(&[home, ("HF_TOKEN", "hf_secret")]).unwrap();
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
        let error = read(&[home, ("HF_TOKEN", "hf_sec ret")]).unwrap_err();
        assert!(
            error.to_string().contains("HF_TOKEN") && !format!("{error:?}{error}").contains("sec"),
            "{error:?}"
        );
        assert!(read(&[home, ("HF_TOKEN_PATH", folder.path().to_str().unwrap())]).is_err());
    }

    #[test]
    fn an_endpoint_is_an_address() {
        let endpoint =
            |value| read(&[("HOME", "/h"), ("HF_ENDPOINT", value)]).map(|settings| settings.endpoint);
        assert_eq!(endpoint("").unwrap(), "https://huggingface.co");
        assert_eq!(endpoint("http://h:1/p//").unwrap(), "http://h:1/p");
        assert!(endpoint("h:1").unwrap_err().to_string().contains("HF_ENDPOINT"));
    }

    #[test]
    fn timeouts_proxies_and_certificates_are_read() {
        let home = ("HOME", "/h");
        let settings = read(&[
            home,
            ("HF_HUB_ETAG_TIMEOUT", "7"),
            ("https_proxy", "http://p:1"),
            ("HTTP_PROXY", "http://q:1"),
            ("NO_PROXY", "a, .b,"),
            ("SSL_CERT_FILE", "~/c.pem"),
        ])
        .unwrap();
        assert_eq!((settings.answer_timeout.as_secs(), settings.download_timeout.as_secs()), (7, 10));
        assert_eq!(settings.proxy.as_deref(), Some("http://p:1"));
        assert_eq!(settings.no_proxy, ["a", ".b"]);
        assert_eq!(settings.certificates.as_deref(), Some(Path::new("/h/c.pem")));
        for value in ["x", "-1", "1.5", "86401"] {
            assert!(read(&[home, ("HF_HUB_DOWNLOAD_TIMEOUT", value)]).is_err(), "{value}");
        }
    }
}
