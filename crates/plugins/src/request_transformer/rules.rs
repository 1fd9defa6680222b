//! The configuration made ready: edits whose values are known already or rendered for each request.

use std::ops::Range;

use plugin::edits::{Edits, Setting, pair_of};
use plugin::{Access, BuildError};

use super::template::Template;

/// The edits of one part of the request: its headers, its query or its body.
pub type Rules = Edits<Value>;

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
    pub fn settings(&mut self, field: &str, entries: &[String]) -> Result<Vec<Setting<Value>>, BuildError> {
        let pairs = entries.iter().enumerate().filter_map(|(index, entry)| Some((index, pair_of(entry)?)));
        pairs
            .map(|(index, (name, source))| {
                let value = self.value(&format!("{field}[{index}]"), source)?;
                Ok(Setting { name: name.to_owned(), value })
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
