//! What must not be seen: the passwords and tokens that people write into URLs.

/// Hides what may be a secret in a URL: who asks, where it is not ssh (a user may be a token), and a query.
pub fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.rsplit_once('@') {
            Some((user, rest)) if user.contains(':') => format!("***@{rest}"),
            _ => url.to_owned(),
        };
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme == "ssh" && !user.contains(':') => format!("{user}@{host}"),
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}")
}

/// Hides what may be a secret in each URL of a text. A URL goes as far as the next white space or quote.
pub fn redact_all(text: String) -> String {
    if !text.contains("://") {
        return text;
    }
    text.split_inclusive(|c: char| c.is_whitespace() || c == '"')
        .map(|word| {
            let end = word.trim_end_matches(|c: char| c.is_whitespace() || c == '"').len();
            let (word, after) = word.split_at(end);
            // Where there is no scheme, an `@` stands before a version as well.
            if word.contains("://") { redact(word) + after } else { format!("{word}{after}") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_all_but_the_secrets_of_its_urls() {
        for (text, shown) in [
            ("https://bob:s3cret@h:1/x.git is a URL", "https://***@h:1/x.git is a URL"),
            ("\"https://t0ken@h/x\": no, and\nhttp://h/x?t=s3cret  too", "\"https://***@h/x\": no, and\nhttp://h/x?***  too"),
            ("add a.example ssh://git@h/x and ssh://git:s3cret@h/x", "add a.example ssh://git@h/x and ssh://***@h/x"),
            ("https://h/@x", "https://h/@x"),
            ("a.example/wasi:http@0.1.0 from git@h:x \"\" ", "a.example/wasi:http@0.1.0 from git@h:x \"\" "),
        ] {
            assert_eq!(redact_all(text.to_owned()), shown);
        }
    }
}
