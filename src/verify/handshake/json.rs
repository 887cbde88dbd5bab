//! An answer that is JSON: what is text in it is a template, the rest stands as it is.

use serde_json::Value;

use super::limits::Limits;
use super::words::Template;
use super::{Keys, Message};

/// A compiled value.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Fixed(Value),
    Text(Template),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Compiles `value`; `template` compiles its texts, and says what is wrong with them.
    pub(super) fn compile(
        value: &Value,
        template: &mut impl FnMut(&str) -> Option<Template>,
    ) -> Option<Self> {
        Some(match value {
            Value::String(text) => Self::Text(template(text)?),
            Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::compile(item, template)).collect::<Option<_>>()?)
            }
            Value::Object(members) => {
                let member =
                    |(name, value): (&String, &Value)| Some((name.clone(), Self::compile(value, template)?));
                Self::Object(members.iter().map(member).collect::<Option<_>>()?)
            }
            other => Self::Fixed(other.clone()),
        })
    }

    /// Its templates.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Text(template) => vec![template],
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, value)| value.templates()).collect(),
        }
    }

    /// The value for `message`; `None` where one of its texts has none.
    pub(super) fn render(&self, message: &Message<'_>, keys: &Keys, limits: &Limits) -> Option<Value> {
        Some(match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => Value::String(template.render(message, keys, limits)?),
            Self::List(items) => {
                items.iter().map(|item| item.render(message, keys, limits)).collect::<Option<_>>()?
            }
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    Some((name.clone(), value.render(message, keys, limits)?))
                };
                Value::Object(members.iter().map(member).collect::<Option<_>>()?)
            }
        })
    }
}
