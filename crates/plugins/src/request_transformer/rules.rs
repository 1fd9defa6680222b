//! The configuration made ready: what to remove, rename, replace, add and append, in this order.

use std::ops::Range;

use plugin::{Access, BuildError};

use super::template::Template;

/// The edits of one part of the request: its headers, its query or its body.
#[derive(Default)]
pub struct Rules {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Names to change, with their new ones.
    pub rename: Vec<(String, String)>,
    /// Values to set where the name is there.
    pub replace: Vec<Setting>,
    /// Values to set where the name is not there.
    pub add: Vec<Setting>,
    /// Values to put beside those that are there.
    pub append: Vec<Setting>,
}

/// A name with the value it is to have.
pub struct Setting {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// A value: known already, or to be rendered for each request.
pub enum Value {
    /// The same for all requests.
    Constant(Vec<u8>),
    /// The template of that number.
    Template(usize),
}

/// All templates of an instance, rendered together before the first edit so that edits do not show in them.
#[derive(Default)]
pub struct Templates(Vec<Template>);

/// The texts of all templates for one request.
#[derive(Default)]
pub struct Rendered {
    text: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Rules {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// Whether a rule touches `name`, whatever its case.
    pub fn touches(&self, name: &str) -> bool {
        let settings = [&self.replace, &self.add, &self.append].into_iter().flatten();
        settings
            .map(|setting| &setting.name)
            .chain(&self.remove)
            .chain(self.rename.iter().flat_map(|(from, to)| [from, to]))
            .any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The name of a `name` or `name:value` entry.
pub fn name_of(entry: &str) -> String {
    entry.split(':').next().unwrap_or_default().to_owned()
}

/// The two names of an `old:new` entry.
pub fn pair_of(entry: &str) -> Option<(String, String)> {
    let (from, to) = entry.split_once(':')?;
    let to = to.trim_start_matches(':');
    (!to.is_empty()).then(|| (from.to_owned(), to.to_owned()))
}

impl Templates {
    /// Keeps a template, or the text of one without values.
    ///
    /// # Errors
    /// A template that cannot be honoured.
    pub fn value(&mut self, field: &str, source: &str) -> Result<Value, BuildError> {
        let template =
            Template::parse(source).map_err(|message| BuildError::new(format!("config.{field}"), message))?;
        if let Some(text) = template.constant() {
            return Ok(Value::Constant(text.to_vec()));
        }
        self.0.push(template);
        Ok(Value::Template(self.0.len() - 1))
    }

    /// Reads `name:value` entries; one without a value does nothing.
    ///
    /// # Errors
    /// A template that cannot be honoured.
    pub fn settings(&mut self, field: &str, entries: &[String]) -> Result<Vec<Setting>, BuildError> {
        let pairs = entries.iter().enumerate().filter_map(|(index, entry)| Some((index, pair_of(entry)?)));
        pairs
            .map(|(index, (name, source))| {
                Ok(Setting { name, value: self.value(&format!("{field}[{index}]"), &source)? })
            })
            .collect()
    }

    /// Renders every template for the request, into memory used before.
    pub fn render(&self, cx: &Access<'_>, rendered: &mut Rendered) {
        rendered.text.clear();
        rendered.ranges.clear();
        for template in &self.0 {
            let start = rendered.text.len();
            template.render(cx, &mut rendered.text);
            rendered.ranges.push(start..rendered.text.len());
        }
    }
}

impl Rendered {
    /// The text of a value for this request.
    pub fn text<'a>(&'a self, value: &'a Value) -> &'a [u8] {
        match value {
            Value::Constant(text) => text,
            Value::Template(number) => {
                self.ranges.get(*number).and_then(|range| self.text.get(range.clone())).unwrap_or_default()
            }
        }
    }
}
