//! `regions` of a destination, and which of them is near.

use super::destinations::{endpoint, read_url};
use super::schema;
use super::suggest::nearest;
use super::walk::{Table, Value};
use crate::delivery::Place;
use crate::event::Region;

/// `server.region`, with its place.
pub(super) fn near<'a>(server: &Table<'a>) -> Option<(Region, Value<'a>)> {
    let value = server.get("region")?;
    Some((name(value)?, value))
}

/// Reads `regions = [{ name = "eu", url = "https://…" }, …]` of `destination`: the near one first, the others in the order
/// in which they are written. `None` where there are mistakes.
pub(super) fn read(value: Value<'_>, destination: &str, near: Option<Region>) -> Option<Vec<Place>> {
    const HELP: &str = "write a list: [{ name = \"eu\", url = \"https://eu.example.com\" }]";
    let items = value.array(HELP)?;
    if items.len() == 0 {
        value.mistake("a destination without a region is nowhere", HELP);
        return None;
    }
    let count = items.len();
    let mut places: Vec<Place> = Vec::with_capacity(count);
    for item in items {
        let Some(place) = region(item, destination) else { continue };
        if places.iter().any(|other| other.region == place.region) {
            item.mistake("another region of this list has this name", "give each its own");
        }
        places.push(place);
    }
    // Stable: the others keep their order.
    places.sort_by_key(|place| place.region != near);
    (places.len() == count).then_some(places)
}

fn region(item: Value<'_>, destination: &str) -> Option<Place> {
    let table = item.table(
        format!("a region of [destinations.{destination}]"),
        &schema::REGION,
        "write { name = \"eu\", url = \"https://eu.example.com\" }",
    )?;
    let region = table.require("name", "write name = \"eu\"").and_then(name);
    let address = table.require("url", "write url = \"https://eu.example.com\"").and_then(read_url);
    table.done();
    let address = address?;
    Some(Place { region: Some(region?), endpoint: endpoint(&address.place), path: address.path })
}

fn name(value: Value<'_>) -> Option<Region> {
    let text = value.str("write a name like \"eu\"")?;
    let region = Region::new(text);
    if region.is_none() {
        let most = Region::MAX_BYTES;
        let message = format!("a region's name has 1 to {most} letters of the alphabet, digits, `-` and `_`");
        value.mistake(message, "");
    }
    region
}

/// A near region that no destination has is most likely misspelled.
pub(super) fn warn_of_unknown(near: Option<(Region, Value<'_>)>, all: &[Place]) {
    let Some((near, value)) = near else { return };
    let names = || all.iter().filter_map(|place| place.region.as_ref().map(Region::as_str));
    if all.is_empty() || names().any(|name| name == near.as_str()) {
        return;
    }
    let help =
        nearest(near.as_str(), names()).map_or_else(String::new, |name| format!("did you mean {name:?}?"));
    value.walk.warn(value.span(), format!("no destination has a region \"{}\"", near.as_str()), help);
}
