//! A small file of a web server, brought here by the `curl` program: over https alone, without redirects, bounded in size and time.
//!
//! Proxy and certificates are those that git uses for the same host, so that whoever has set up git has set up this.

use super::program::{Environment, Output, Program, in_one_line};
use super::url::Url;
use crate::model::error::{ErrorCode, Result, fault};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// What curl prints after the file: the status, and where a redirect leads.
const AFTERWARDS: &str = "\n%{http_code} %{redirect_url}";
/// The most bytes of that.
const AFTERWARDS_MAX: usize = 4096;

/// Returns a file of at most `max` bytes.
///
/// # Errors
/// `not-found` where the server has no such file, redirects, or has no address; `network` where it was not reached or did not
/// answer in time; `limit` where the file is larger; `git` where curl is missing.
pub fn get(url: &Url, max: usize, deadline: Duration, environment: &Environment) -> Result<Vec<u8>> {
    let mut program = Program::curl()
        .environment(environment)
        .output_max(max + AFTERWARDS_MAX)
        // curl's own limit says it better; this one is for a curl that does not keep it.
        .deadline(Some(deadline + Duration::from_secs(5)))
        .args(["--silent", "--show-error", "--globoff", "--proto", "=https", "--max-redirs", "0"])
        .args(["--max-filesize", &max.to_string(), "--max-time", &deadline.as_secs_f32().to_string()])
        .args(["--user-agent", concat!("quipu/", env!("CARGO_PKG_VERSION")), "--write-out", AFTERWARDS]);
    for (name, value) in surroundings(url, environment)? {
        program = program.env(name, value);
    }
    let too_large = || fault!(Limit, "{url} has more than {max} bytes");
    let output = program.args(["--url", url.as_str()]).run().map_err(|error| match error.code() {
        ErrorCode::Limit => too_large(),
        _ => error.at(url),
    })?;
    // Exit statuses as in curl's manual: 6 no address, 63 too large.
    match output.code {
        Some(0) => {}
        Some(6) => return Err(fault!(NotFound, "{url} is nowhere: {}", output.words())),
        Some(63) => return Err(too_large()),
        _ => return Err(fault!(Network, "{url} cannot be reached: {}", output.words())),
    }
    let (mut file, status, redirect) = split(output)?;
    match status {
        200 if file.len() > max => Err(too_large()),
        200 => {
            file.shrink_to_fit();
            Ok(file)
        }
        404 | 410 => Err(fault!(NotFound, "{url} is not there")),
        300..=399 => Err(fault!(NotFound, "{url} redirects to {redirect:?}, and redirects are not followed")),
        429 | 500..=599 => Err(fault!(Network, "{url} cannot be reached: the server answers {status}")),
        _ => Err(fault!(NotFound, "{url} is not there: the server answers {status}")),
    }
}

/// Splits what curl printed into the file, the status, and where a redirect leads.
fn split(output: Output) -> Result<(Vec<u8>, u16, String)> {
    let mut file = output.stdout;
    let start = file.iter().rposition(|byte| *byte == b'\n');
    let afterwards = start.map(|start| file.split_off(start)).unwrap_or_default();
    let afterwards = String::from_utf8_lossy(&afterwards);
    let (status, redirect) = afterwards.trim_start().split_once(' ').unwrap_or_default();
    let status = status.parse().map_err(|_| fault!(Network, "curl did not say what the server answered"))?;
    Ok((file, status, in_one_line(redirect)))
}

/// Returns the variables by which curl learns what git's configuration says of this host. In the environment, not among the arguments: a proxy
/// may have a password.
fn surroundings(url: &Url, environment: &Environment) -> Result<Vec<(&'static str, OsString)>> {
    let output = Program::git()
        .environment(environment)
        .with_transport_config(true)
        .env("GIT_DIR", Path::new("/dev/null/no-repository"))
        .args(["config", "--null", "--type=path", "--get-urlmatch", "http", url.as_str()])
        .run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let says = |wanted: &str| {
        let mut entries = text.split('\0').filter_map(|entry| entry.split_once('\n'));
        entries.find(|(key, _)| *key == wanted).map(|(_, value)| OsString::from(value))
    };
    let mut found = Vec::new();
    match says("http.proxy") {
        // To git, an empty proxy is none, whatever the environment says.
        Some(proxy) if proxy.is_empty() => found.push(("no_proxy", "*".into())),
        Some(proxy) => found.push(("https_proxy", proxy)),
        None => {}
    }
    for (variable, of_git, key) in
        [("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "http.sslcainfo"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH", "http.sslcapath")]
    {
        if let Some(value) = environment.get(of_git).map(OsString::from).or_else(|| says(key)) {
            found.push((variable, value));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::fixture::put;

    fn at_home(text: &str, more: &[(&str, &str)]) -> Result<Vec<(&'static str, OsString)>> {
        let home = tempfile::tempdir().unwrap();
        put(home.path().join(".gitconfig"), text);
        let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        let more = more.iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
        let environment = Environment::new(path.into_iter().chain([("HOME".into(), home.path().into())]).chain(more));
        surroundings(&"https://acme.example/.well-known/quipu.toml".parse()?, &environment)
    }

    #[test]
    fn proxy_and_certificates_are_those_that_git_would_use() -> Result<()> {
        assert_eq!(at_home("", &[])?, []);
        let text = "[http]\n proxy = p:1\n sslCAInfo = /ca\n[http \"https://acme.example\"]\n proxy = u:secret@q:2\n\
                    [http \"https://other.example\"]\n proxy = r:3\n";
        assert_eq!(at_home(text, &[])?, [("https_proxy", "u:secret@q:2".into()), ("CURL_CA_BUNDLE", "/ca".into())]);
        let wanted = [("https_proxy", "u:secret@q:2".into()), ("CURL_CA_BUNDLE", "/mine".into())];
        assert_eq!(at_home(text, &[("GIT_SSL_CAINFO", "/mine")])?, wanted);
        assert_eq!(
            at_home("[http]\n proxy =\n sslCAPath = /cas\n", &[])?,
            [("no_proxy", "*".into()), ("SSL_CERT_DIR", "/cas".into())]
        );
        Ok(())
    }

    #[test]
    fn a_file_may_end_with_or_without_a_line_feed() -> Result<()> {
        let said = |stdout: &str| split(Output { success: true, code: Some(0), stdout: stdout.into(), stderr: String::new() });
        assert_eq!(said("a\nb\n\n200 ")?, (b"a\nb\n".to_vec(), 200, String::new()));
        assert_eq!(said("a\n301 https://b.example/x y")?, (b"a".to_vec(), 301, "https://b.example/x y".into()));
        assert_eq!(said("\n404 ")?, (Vec::new(), 404, String::new()));
        assert!(said("").is_err());
        Ok(())
    }

    #[test]
    fn without_curl_it_is_said_what_to_install() -> Result<()> {
        let error = Program::curl().environment(&Environment::new([("PATH".into(), "/nowhere".into())])).run().unwrap_err();
        assert_eq!((error.code(), error.hints()[0].as_str()), (ErrorCode::Git, "install curl, so that it is on PATH"));
        Ok(())
    }
}
