//! Every value of a JSON body to which a pointer leads, also where an object has a name twice; a step `*` is every
//! element of an array, or member of an object.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where in `body` the values lie to which one of `places` leads; `None` for what is no JSON.
pub(super) fn values(body: &[u8], places: &[Vec<String>]) -> Option<Vec<Range<usize>>> {
    let whole: &RawValue = serde_json::from_slice(body).ok()?;
    let mut found = Vec::new();
    for steps in places {
        collect(whole.get(), steps, &mut found)?;
    }
    found.into_iter().map(|value| range_of(body, value.as_bytes())).collect()
}

/// Where `piece`, a part of `body`, lies.
pub(super) fn range_of(body: &[u8], piece: &[u8]) -> Option<Range<usize>> {
    let start = (piece.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    Some(start..start + piece.len())
}

fn collect<'a>(value: &'a str, steps: &[String], found: &mut Vec<&'a str>) -> Option<()> {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return Some(());
    };
    match value.as_bytes().first()? {
        b'{' => {
            let Members(members) = serde_json::from_str(value).ok()?;
            for (_, value) in members.iter().filter(|(name, _)| step == "*" || name == step) {
                collect(value.get(), rest, found)?;
            }
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            for (index, value) in elements.iter().enumerate() {
                if step == "*" || step.parse() == Ok(index) {
                    collect(value.get(), rest, found)?;
                }
            }
        }
        _ => {}
    }
    Some(())
}

/// The members of an object, in order, repeated names too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
