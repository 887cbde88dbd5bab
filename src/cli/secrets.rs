//! `hooklatch status --secrets`: how much each secret is used, for whoever rotates one.

use serde_json::{Value, json};

use super::human;
use super::out::{Out, Outcome};
use super::view::text;

const HEAD: [&str; 5] = ["ROUTE", "SECRET", "REQUESTS", "LAST USED", "STANDING"];

/// Each secret of `routes`, with its route.
fn all(routes: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let routes = routes.get("routes").and_then(Value::as_array).into_iter().flatten();
    routes.flat_map(|route| {
        let secrets = route.get("secrets").and_then(Value::as_array).into_iter().flatten();
        secrets.map(move |secret| (route, secret))
    })
}

/// For programs: as `GET routes` has them, each with its `route`.
pub(super) fn list(routes: &Value) -> Value {
    let with_route = |(route, secret): (&Value, &Value)| {
        let mut shown = secret.clone();
        if let Value::Object(shown) = &mut shown {
            shown.insert("route".to_owned(), json!(route.get("name")));
        }
        shown
    };
    all(routes).map(with_route).collect()
}

/// Prints them as a table.
///
/// # Errors
/// Output that cannot be written.
pub(super) fn print(out: &mut Out, routes: &Value) -> Outcome {
    let row = |(route, secret): (&Value, &Value)| {
        vec![
            text(route, "name"),
            text(secret, "name"),
            text(secret, "hits"),
            text(secret, "last_match_at"),
            standing(secret),
        ]
    };
    let rows: Vec<_> = all(routes).map(row).collect();
    if rows.is_empty() {
        return out.line("\nno route has a secret");
    }
    out.line("")?;
    human::table(out, &HEAD, &rows)
}

fn standing(secret: &Value) -> String {
    let is = |key: &str| secret.get(key).and_then(Value::as_bool) == Some(true);
    let used = secret.get("last_match_at").is_some_and(|at| !at.is_null());
    match (is("shadow"), is("safe_to_drop"), used) {
        (true, _, _) => "on trial: counted, not accepted".to_owned(),
        (_, true, _) => {
            format!("safe to drop: unused since {}, another is used", text(secret, "unused_since"))
        }
        (.., true) => "in use".to_owned(),
        (.., false) => format!("no request since {}", text(secret, "unused_since")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_secret_stands_is_told_in_words() {
        let of = |shadow: bool, safe: bool, last: Option<&str>| {
            standing(
                &json!({"shadow": shadow, "safe_to_drop": safe, "last_match_at": last, "unused_since": "T"}),
            )
        };
        assert_eq!(of(true, false, Some("T")), "on trial: counted, not accepted");
        assert_eq!(of(false, true, Some("T")), "safe to drop: unused since T, another is used");
        assert_eq!(of(false, false, Some("T")), "in use");
        assert_eq!(of(false, false, None), "no request since T");
    }
}
