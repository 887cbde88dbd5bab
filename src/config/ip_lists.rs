//! The lists of providers' addresses: `conf/ip-lists/*.toml`, embedded when it is built.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::suggest::nearest;
use crate::net::{IpList, Published};

mod shipped {
    include!(concat!(env!("OUT_DIR"), "/ip_lists.rs"));
}

/// A file, as written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    docs: String,
    source: String,
    date: String,
    addresses: Vec<String>,
    refresh: Option<Refresh>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    url: String,
    at: String,
}

/// The lists by name; what is published replaces what they hold, for the whole process.
#[derive(Debug, Default)]
pub struct IpLists {
    lists: BTreeMap<&'static str, Arc<IpList>>,
    /// What is wrong with embedded files. A test holds this empty.
    broken: Vec<String>,
}

impl IpLists {
    /// The embedded files, read when first asked for.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<IpLists> = LazyLock::new(|| IpLists::read(shipped::FILES));
        &SHIPPED
    }

    fn read(files: &'static [(&'static str, &'static str)]) -> Self {
        let mut lists = Self::default();
        for (name, text) in files {
            match list(name, text) {
                Ok(list) => {
                    lists.lists.insert(name, Arc::new(list));
                }
                Err(why) => lists.broken.push(format!("conf/ip-lists/{name}.toml: {why}")),
            }
        }
        lists
    }

    /// The list for `"@NAME"`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<IpList>> {
        self.lists.get(name)
    }

    /// Every list's name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().copied()
    }

    /// The name that `name` is most likely a slip of.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.names())
    }
}

fn list(name: &str, text: &str) -> Result<IpList, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let published = file.refresh.map(|Refresh { url, at }| Published { url, at });
    if let Some(published) = &published
        && !(published.url.starts_with("https://")
            && (published.at.is_empty() || published.at.starts_with('/')))
    {
        return Err("`refresh` is an https:// address and a JSON pointer".to_owned());
    }
    if jiff_date(&file.date).is_none() {
        return Err(format!("{:?} is no date", file.date));
    }
    IpList::new(name, file.docs, file.source, published, file.date, file.addresses)
}

fn jiff_date(text: &str) -> Option<jiff::civil::Date> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_list_is_right_and_says_where_it_is_from() {
        let lists = IpLists::shipped();
        assert!(lists.broken.is_empty(), "{:?}", lists.broken);
        assert!(lists.names().count() >= 12);
        for name in lists.names() {
            let list = lists.get(name).unwrap();
            assert!(list.docs.starts_with("https://") && !list.source.is_empty(), "{name}");
            assert!(list.view().ranges > 0 && list.view().as_of.starts_with("202"), "{list:?}");
        }
        assert!(lists.get("github").unwrap().contains("192.30.252.1".parse().unwrap()));
        assert_eq!(lists.nearest("githb"), Some("github"));
    }

    #[test]
    fn a_broken_file_is_reported_and_not_taken() {
        for text in
            ["", "docs = 1", "docs = \"\"\nsource = \"\"\ndate = \"soon\"\naddresses = [\"192.0.2.1\"]"]
        {
            assert!(list("acme", text).is_err(), "{text}");
        }
        let lists = IpLists::read(&[("acme", "nonsense")]);
        assert!(lists.get("acme").is_none() && lists.broken[0].contains("acme.toml"), "{:?}", lists.broken);
    }
}
