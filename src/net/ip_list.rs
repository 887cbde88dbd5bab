//! Lists of addresses that providers publish: a snapshot that came with the binary, or what was published since.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use serde_json::Value;

use super::ip_set::{IpSet, NotAnAddress};

/// The most ranges of one published list.
const MOST_RANGES: usize = 5000;
/// The most addresses of one published list, all its ranges together: a v4 `/10`, a v6 `/20`. No provider sends from more;
/// a list that says so is none.
const MOST_V4: u64 = 1 << 22;
const MOST_V6: u128 = 1 << 108;

/// Where no provider on the Internet sends from: this host, private and shared networks, link-local, multicast and reserved
/// addresses (RFC 6890, RFC 1918, RFC 6598, RFC 5771), on v6 also what embeds v4 ones, and site-local (RFC 4291, RFC 4193).
static NOT_PUBLIC: LazyLock<IpSet> = LazyLock::new(|| {
    let ranges = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
        "::/8",
        "fc00::/7",
        "fe80::/9",
        "ff00::/8",
    ];
    // A test holds that all of them are read.
    IpSet::parse(ranges).unwrap_or_default()
});

/// A provider's list. What is published replaces what is in force; who holds the list sees it at once.
pub struct IpList {
    /// The word for `"@NAME"`.
    pub name: Arc<str>,
    /// The provider's documentation of it.
    pub docs: String,
    /// Where the snapshot was read.
    pub source: String,
    /// Where it is published, if it can be read by a machine.
    pub published: Option<Published>,
    in_force: ArcSwap<InForce>,
}

/// Where a list is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// An `https://` address of a JSON document.
    pub url: String,
    /// The pointer to the list in it (RFC 6901); a list of lists, or a table of them, counts as one.
    pub at: String,
}

#[derive(Debug)]
struct InForce {
    texts: Box<[String]>,
    set: IpSet,
    as_of: String,
}

/// What a list is, for whoever looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpListView {
    /// Its name, without the `@`.
    pub name: Arc<str>,
    /// How many addresses and ranges it has.
    pub ranges: usize,
    /// From when they are: the day of the snapshot, or the moment in which they were read.
    pub as_of: String,
}

/// How a list changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListChange {
    /// What is new in it.
    pub added: Vec<String>,
    /// What is gone from it.
    pub removed: Vec<String>,
}

/// The list as such: what it is made of would fill pages.
impl fmt::Debug for IpList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IpList").field(&self.view()).finish()
    }
}

impl IpList {
    /// A list with a snapshot of `addresses`, of the day `date`.
    ///
    /// # Errors
    /// A sentence: an address that is none, or a list that [`Self::replace`] would refuse.
    pub fn new(
        name: &str,
        docs: String,
        source: String,
        published: Option<Published>,
        date: String,
        addresses: Vec<String>,
    ) -> Result<Self, String> {
        let in_force = InForce::read(addresses, date)?;
        Ok(Self { name: name.into(), docs, source, published, in_force: ArcSwap::from_pointee(in_force) })
    }

    /// Whether `address` is on it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.in_force.load().set.contains(address)
    }

    /// What it is.
    #[must_use]
    pub fn view(&self) -> IpListView {
        let in_force = self.in_force.load();
        IpListView {
            name: Arc::clone(&self.name),
            ranges: in_force.texts.len(),
            as_of: in_force.as_of.clone(),
        }
    }

    /// The addresses in force, one a line.
    #[must_use]
    pub fn lines(&self) -> String {
        self.in_force.load().texts.join("\n")
    }

    /// Puts `addresses`, read at `as_of`, in force, and tells what changed by it.
    ///
    /// # Errors
    /// A sentence: an empty list, more than 5000 ranges, one that is no address or no public one, more addresses than any
    /// provider has (a `/10`; v6 a `/20`), or one that has lost more than half of the ranges in force, which is more likely
    /// a mistake than a move. The old one stays.
    pub fn replace(&self, addresses: Vec<String>, as_of: String) -> Result<ListChange, String> {
        let new = InForce::read(addresses, as_of)?;
        let old = self.in_force.load_full();
        let is_gone = |text: &&String| !range(text).is_ok_and(|range| new.set.holds(&range));
        let gone = old.texts.iter().filter(is_gone).count();
        if gone * 2 > old.texts.len() {
            return Err(format!(
                "{gone} of the {} ranges in force are not on it; if the provider did move, name its addresses in allow_ips",
                old.texts.len()
            ));
        }
        Ok(self.put(new, &old))
    }

    /// Puts in force what [`Self::replace`] took over in an earlier process, whatever the snapshot says.
    ///
    /// # Errors
    /// As [`Self::replace`], whatever was lost.
    pub fn restore(&self, addresses: Vec<String>, as_of: String) -> Result<ListChange, String> {
        let new = InForce::read(addresses, as_of)?;
        Ok(self.put(new, &self.in_force.load_full()))
    }

    fn put(&self, new: InForce, old: &InForce) -> ListChange {
        let without = |these: &[String], those: &[String]| {
            these.iter().filter(|one| !those.contains(one)).cloned().collect()
        };
        let change =
            ListChange { added: without(&new.texts, &old.texts), removed: without(&old.texts, &new.texts) };
        self.in_force.store(Arc::new(new));
        change
    }
}

impl Published {
    /// The addresses in `document`.
    ///
    /// # Errors
    /// A sentence: no JSON, or no texts at the pointer.
    pub fn read(&self, document: &[u8]) -> Result<Vec<String>, String> {
        let document: Value =
            serde_json::from_slice(document).map_err(|error| format!("the document is no JSON: {error}"))?;
        let mut addresses = Vec::new();
        collect(document.pointer(&self.at).unwrap_or(&Value::Null), &mut addresses);
        if addresses.is_empty() {
            Err(format!("there is no list at {:?} in the document", self.at))
        } else {
            Ok(addresses)
        }
    }
}

fn collect(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => members.values().for_each(|member| collect(member, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl InForce {
    fn read(mut texts: Vec<String>, as_of: String) -> Result<Self, String> {
        texts.sort();
        texts.dedup();
        if texts.is_empty() || texts.len() > MOST_RANGES {
            return Err(format!("a list has 1 to {MOST_RANGES} ranges, this one {}", texts.len()));
        }
        let mut private = texts.iter().filter(|text| range(text).is_ok_and(|range| NOT_PUBLIC.meets(&range)));
        if let Some(text) = private.next() {
            return Err(format!("{text:?} is nowhere a provider sends from: not on the public Internet"));
        }
        let set = IpSet::parse(texts.iter().map(String::as_str)).map_err(|error| error.to_string())?;
        let (v4, v6) = set.addresses();
        if v4 > MOST_V4 || v6 > MOST_V6 {
            return Err(format!(
                "its ranges hold {v4} v4 and {v6} v6 addresses: more than a provider sends from"
            ));
        }
        Ok(Self { texts: texts.into(), set, as_of })
    }
}

fn range(text: &str) -> Result<IpSet, NotAnAddress> {
    IpSet::parse([text])
}

/// The clients that a route takes.
#[derive(Clone, Debug, Default)]
pub struct AllowIps {
    /// Addresses and ranges as configured.
    pub fixed: IpSet,
    /// Providers' lists.
    pub lists: Vec<Arc<IpList>>,
    /// Others are counted, and let in all the same.
    pub shadow: bool,
}

impl AllowIps {
    /// Whether a client at `address` is one of them; one without an address is not.
    #[must_use]
    pub fn has(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| {
            self.fixed.contains(address) || self.lists.iter().any(|list| list.contains(address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn list() -> IpList {
        let published = Published { url: "https://example.com/".to_owned(), at: "/hooks".to_owned() };
        let addresses = texts(&["192.0.2.0/24", "2001:db8::/32"]);
        IpList::new("acme", String::new(), String::new(), Some(published), "2026-01-15".to_owned(), addresses)
            .unwrap()
    }

    #[test]
    fn what_is_published_replaces_the_snapshot_and_the_change_is_told() {
        let list = list();
        let allow = AllowIps { lists: vec![Arc::new(list)], ..AllowIps::default() };
        let [list] = &allow.lists[..] else { panic!() };
        assert!(allow.has("192.0.2.7".parse().ok()) && !allow.has("198.51.100.1".parse().ok()));
        assert!(!allow.has(None));
        let published = list.published.as_ref().unwrap();
        let addresses =
            published.read(br#"{"web":["10.0.0.0/8"],"hooks":["198.51.100.0/24","2001:db8::/32"]}"#);
        let change = list.replace(addresses.unwrap(), "now".to_owned()).unwrap();
        assert_eq!(
            change,
            ListChange { added: texts(&["198.51.100.0/24"]), removed: texts(&["192.0.2.0/24"]) }
        );
        assert!(!allow.has("192.0.2.7".parse().ok()) && allow.has("198.51.100.1".parse().ok()));
        assert_eq!((list.view().ranges, list.view().as_of.as_str()), (2, "now"));
    }

    #[test]
    fn a_list_that_cannot_be_one_changes_nothing() {
        let list = list();
        let hosts = |count: u32| {
            (0..count).map(|n| std::net::Ipv4Addr::from(0x0b00_0000 + n).to_string()).collect::<Vec<_>>()
        };
        for wrong in [
            texts(&["0.0.0.0/0"]),
            texts(&["11.0.0.0/9"]),
            texts(&["11.0.0.0/10", "12.0.0.1"]),
            texts(&["2000::/19"]),
            texts(&["2000::/20", "3000::"]),
            texts(&["::/0"]),
            texts(&["::ffff:0:0/96"]),
            texts(&["::ffff:11.0.0.0/105"]),
            texts(&["192.0.2.0/24", "example.com"]),
            texts(&["192.0.2.1/24"]),
            hosts(5001),
        ] {
            // Also where nothing of the old one is gone.
            let more = [&wrong[..], &texts(&["192.0.2.0/24", "2001:db8::/32"])].concat();
            for wrong in [wrong, more] {
                assert!(list.replace(wrong.clone(), "now".to_owned()).is_err(), "{:?}", wrong.first());
                assert!(list.restore(wrong.clone(), "now".to_owned()).is_err(), "{:?}", wrong.first());
            }
        }
        assert!(list.replace(Vec::new(), "now".to_owned()).is_err());
        assert!(list.contains("192.0.2.7".parse().unwrap()) && list.view().as_of == "2026-01-15");
        let published = list.published.as_ref().unwrap();
        for document in ["", "<html>", "{}", r#"{"hooks":[]}"#, r#"{"hooks":7}"#] {
            assert!(published.read(document.as_bytes()).is_err(), "{document}");
        }
        let by_region = Published { at: String::new(), ..published.clone() };
        assert_eq!(by_region.read(br#"{"us":["1.2.3.4"],"eu":["5.6.7.8"]}"#).unwrap().len(), 2);
    }

    #[test]
    fn nobody_sends_from_a_private_network() {
        // The last two touch.
        assert_eq!(NOT_PUBLIC.len(), 11, "every range of them is read");
        let list = list();
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.0/16",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.0.0/16",
            "192.168.0.0/24",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:10.0.0.0/104",
            "64:ff9b::a00:1",
            "fd00::/32",
            "fe80::1",
            "ff02::1",
            // Around one.
            "172.0.0.0/11",
        ] {
            let addresses = texts(&["192.0.2.0/24", "2001:db8::/32", private]);
            let why = list.replace(addresses, "now".to_owned()).unwrap_err();
            assert!(why.contains(private) && why.contains("public"), "{why}");
        }
        for public in ["100.128.0.0/16", "172.32.0.0/16", "192.167.255.255", "223.255.255.255", "2000::1"] {
            let addresses = texts(&["192.0.2.0/24", "2001:db8::/32", public]);
            assert!(list.replace(addresses, "now".to_owned()).is_ok(), "{public}");
        }
    }

    #[test]
    fn a_list_that_lost_more_than_half_is_a_mistake_unless_it_was_taken_over_before() {
        let with = |addresses: &[&str]| {
            let (none, date) = (String::new(), "2026-01-15".to_owned());
            IpList::new("acme", none.clone(), none, None, date, texts(addresses)).unwrap()
        };
        let old = ["192.0.2.0/25", "192.0.2.128/25", "198.51.100.1", "2001:db8::/32"];
        let list = with(&old);
        let why = list.replace(texts(&["198.51.100.1", "203.0.113.7"]), "now".to_owned()).unwrap_err();
        assert!(why.contains("3 of the 4") && why.contains("allow_ips"), "{why}");
        assert!(list.contains("192.0.2.7".parse().unwrap()) && list.view().as_of == "2026-01-15");
        // The same ranges written otherwise are not gone.
        let merged = texts(&["192.0.2.0/24", "203.0.113.7"]);
        assert_eq!(list.replace(merged, "now".to_owned()).unwrap().removed.len(), 4);
        assert!(!list.contains("198.51.100.1".parse().unwrap()));

        let list = with(&old);
        assert!(list.restore(texts(&["203.0.113.7"]), "now".to_owned()).is_ok());
        assert!(list.contains("203.0.113.7".parse().unwrap()) && list.view().as_of == "now");
    }
}
