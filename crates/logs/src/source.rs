//! The container that a log is of: what is told of it beside its lines, and the tag they carry.

use crate::Error;
use proa_template::{Missing, Template, Value};
use proa_types::Timestamp;
use regex_lite::Regex;
use std::collections::BTreeMap;

/// A container, as far as its log tells of it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Its id.
    pub id: String,
    /// Its name, without a slash.
    pub name: String,
    /// Its image.
    pub image_id: String,
    /// Its image as it was asked for.
    pub image: String,
    /// Its program and arguments.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its variables, `NAME=VALUE`.
    pub env: Vec<String>,
}

/// As many characters of an id as are shown.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

impl Source {
    /// The tag that the options ask for, a template; `default` if they ask for none.
    ///
    /// # Errors
    /// [`Error::Template`].
    pub(crate) fn tag(&self, options: &BTreeMap<String, String>, default: &str) -> Result<String, Error> {
        let template = options.get("tag").filter(|text| !text.is_empty()).map_or(default, String::as_str);
        if template.is_empty() {
            return Ok(String::new());
        }
        // The usual one needs no engine.
        if template == "{{.ID}}" {
            return Ok(short(&self.id).to_owned());
        }
        Ok(Template::parse("log-tag", template)?.execute(&self.fields(), Missing::Type("*logger.Info"))?)
    }

    fn fields(&self) -> Value {
        let text = |name: &str, value: &str| (name.to_owned(), Value::text(value));
        let (program, args) = self.command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let list = |all: &[String]| Value::List(all.iter().map(Value::text).collect());
        let labels = self.labels.iter().map(|(name, value)| text(name, value)).collect();
        Value::Map(vec![
            text("ID", short(&self.id)),
            text("FullID", &self.id),
            text("Name", &self.name),
            text("ImageID", short(&self.image_id)),
            text("ImageFullID", &self.image_id),
            text("ImageName", &self.image),
            text("Command", &self.command.join(" ")),
            text("Hostname", &host_name()),
            text("DaemonName", "docker"),
            text("ContainerID", &self.id),
            text("ContainerName", &format!("/{}", self.name)),
            text("ContainerEntrypoint", program),
            ("ContainerArgs".into(), list(args)),
            text("ContainerImageID", &self.image_id),
            text("ContainerImageName", &self.image),
            text("ContainerCreated", &self.created.to_string()),
            ("ContainerEnv".into(), list(&self.env)),
            ("ContainerLabels".into(), Value::Map(labels)),
        ])
    }

    /// The labels and variables that the options choose, under names that `rename` makes of theirs.
    ///
    /// # Errors
    /// [`Error::Value`] for an expression that is none.
    pub(crate) fn attributes(
        &self,
        options: &BTreeMap<String, String>,
        rename: impl Fn(&str) -> String,
    ) -> Result<BTreeMap<String, String>, Error> {
        let label = Choice::new(options, "labels", "labels-regex")?;
        let env = Choice::new(options, "env", "env-regex")?;
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let vars = self.env.iter().filter_map(|var| var.split_once('='));
        let labels = labels.filter(|(name, _)| label.has(name));
        let all = labels.chain(vars.filter(|(name, _)| env.has(name)));
        Ok(all.map(|(name, value)| (rename(name), value.to_owned())).collect())
    }
}

/// Names that are chosen: those listed, and those that an expression matches.
struct Choice<'a> {
    listed: Vec<&'a str>,
    regex: Option<Regex>,
}

impl<'a> Choice<'a> {
    fn new(options: &'a BTreeMap<String, String>, list: &str, regex: &str) -> Result<Self, Error> {
        let bad = |e: regex_lite::Error| Error::value(format!("error parsing regexp: {e}"));
        let regex = options.get(regex).filter(|text| !text.is_empty());
        Ok(Self {
            listed: options.get(list).map(|list| list.split(',').collect()).unwrap_or_default(),
            regex: regex.map(|text| Regex::new(text)).transpose().map_err(bad)?,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.listed.contains(&name) || self.regex.as_ref().is_some_and(|regex| regex.is_match(name))
    }
}

/// This machine's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            image_id: "sha256:0123456789".into(),
            image: "busybox:latest".into(),
            command: vec!["sh".into(), "-c".into(), "true".into()],
            labels: BTreeMap::from([("a".into(), "1".into()), ("app.x".into(), "2".into())]),
            env: vec!["A=3".into(), "APP_Y=4=5".into(), "odd".into()],
            ..Source::default()
        }
    }

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn tags_are_templates_over_dockers_names() {
        let tag = |text: &str| source().tag(&options(&[("tag", text)]), "{{.ID}}");
        assert_eq!(tag("").unwrap(), "0123456789ab");
        assert_eq!(tag("{{.Name}}/{{.ImageName}}/{{.DaemonName}}").unwrap(), "web/busybox:latest/docker");
        assert_eq!(tag("{{.ImageID}} {{.Command}}").unwrap(), "sha256:01234 sh -c true");
        assert_eq!(tag("{{.FullID | upper}}").unwrap(), "0123456789ABCDEF");
        assert!(tag("{{.Nope}}").unwrap_err().to_string().contains("Nope"));
        assert!(tag("{{.ID").is_err());
    }

    #[test]
    fn attributes_are_chosen_by_name_and_by_expression() {
        let chosen = |pairs: &[(&str, &str)]| {
            let all = source().attributes(&options(pairs), str::to_owned).unwrap();
            all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(chosen(&[]), "");
        assert_eq!(chosen(&[("labels", "a,none"), ("env", "A")]), "A=3 a=1");
        assert_eq!(chosen(&[("labels-regex", "^app"), ("env-regex", "^APP_")]), "APP_Y=4=5 app.x=2");
        assert!(source().attributes(&options(&[("env-regex", "(")]), str::to_owned).is_err());
    }
}
