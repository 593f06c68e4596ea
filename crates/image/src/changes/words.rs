//! Words of an instruction: separated by blanks, with quotes, escapes and variables as in a Dockerfile.

/// Splits `text` into words. Quotes go; `$NAME`, `${NAME}`, `${NAME:-other}` and `${NAME:+other}` are
/// replaced by what `lookup` says, but not within single quotes. The error is what is wrong.
pub(crate) fn split(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = rest.next() {
        let blank = c.is_whitespace() && quote.is_none();
        if blank {
            words.extend(word.take());
            continue;
        }
        let current = word.get_or_insert_default();
        match c {
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if quote == Some(c) => quote = None,
            '\\' if quote != Some('\'') => match rest.next() {
                Some(next) if quote.is_none() || matches!(next, '"' | '$' | '\\') => current.push(next),
                Some(next) => current.extend(['\\', next]),
                None => current.push('\\'),
            },
            '$' if quote != Some('\'') => current.push_str(&variable(&mut rest, lookup)?),
            c => current.push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// The value of the variable whose `$` has just been read.
fn variable(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, &'static str> {
    if rest.next_if_eq(&'{').is_none() {
        let mut name = String::new();
        while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        return Ok(if name.is_empty() { "$".into() } else { lookup(&name).unwrap_or_default() });
    }
    let mut body = String::new();
    loop {
        match rest.next() {
            Some('}') => break,
            Some(c) => body.push(c),
            None => return Err("a ${ is not closed"),
        }
    }
    let value = |name: &str| lookup(name).filter(|value| !value.is_empty());
    if let Some((name, other)) = body.split_once(":-") {
        return Ok(value(name).unwrap_or_else(|| other.to_owned()));
    }
    if let Some((name, other)) = body.split_once(":+") {
        return Ok(value(name).map(|_| other.to_owned()).unwrap_or_default());
    }
    Ok(lookup(&body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_in_a_dockerfile() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        let words = split(r#"a="1 2" b='$A' c=$A/${A}/${B:-y}\ z  "q\"q""#, &lookup).unwrap();
        assert_eq!(words, ["a=1 2", "b=$A", "c=x/x/y z", "q\"q"]);
        assert!(split("a='b", &lookup).is_err());
        assert!(split("${A", &lookup).is_err());
    }
}
