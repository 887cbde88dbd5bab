use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;

use super::*;

/// What the double answers: the addresses of every name but `nowhere.test.`, and their TTL; `None` = silence.
type Zone = Arc<Mutex<Option<(Vec<IpAddr>, u32)>>>;

/// A DNS server for one resolver, and how many queries for v4 addresses it got.
struct Dns {
    zone: Zone,
    asked: Arc<AtomicUsize>,
    resolver: Resolver,
    hosts: tempfile::NamedTempFile,
}

impl Dns {
    async fn answering(addresses: &[&str], ttl: u32) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let zone: Zone = Arc::new(Mutex::new(Some((addresses, ttl))));
        let asked = Arc::<AtomicUsize>::default();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(serve(socket, zone.clone(), asked.clone()));

        let mut udp = ConnectionConfig::udp();
        udp.port = port;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let dns = build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()));
        let hosts = tempfile::NamedTempFile::new().unwrap();
        let resolver = Resolver::with(Ok(dns.unwrap()), leaked(&hosts));
        Self { zone, asked, resolver, hosts }
    }

    fn changes_to(&self, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        *self.zone.lock() = Some((addresses, ttl));
    }

    async fn resolve(&self, host: &str) -> Result<Vec<String>, String> {
        let resolved = self.resolver.resolve(host, 80).await;
        resolved.map(|all| all.iter().map(ToString::to_string).collect()).map_err(|e| e.to_string())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn leaked(file: &tempfile::NamedTempFile) -> &'static str {
    Box::leak(file.path().to_str().unwrap().to_owned().into_boxed_str())
}

async fn serve(socket: UdpSocket, zone: Zone, asked: Arc<AtomicUsize>) {
    let mut packet = [0u8; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
        let query = Message::from_vec(&packet[..length]).unwrap();
        let question = query.queries[0].clone();
        let v4 = question.query_type() == RecordType::A;
        asked.fetch_add(usize::from(v4), Ordering::SeqCst);
        let Some((addresses, ttl)) = zone.lock().clone() else { continue };
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.add_query(question.clone());
        if question.name().to_utf8().eq_ignore_ascii_case("nowhere.test.") {
            answer.metadata.response_code = ResponseCode::NXDomain;
        } else {
            for address in addresses.iter().filter(|address| address.is_ipv4() == v4) {
                answer.add_answer(Record::from_rdata(question.name().clone(), ttl, RData::from(*address)));
            }
        }
        socket.send_to(&answer.to_vec().unwrap(), peer).await.unwrap();
    }
}

#[tokio::test]
async fn all_addresses_come_back_v4_first() {
    let dns = Dns::answering(&["2001:db8::1", "192.0.2.1", "192.0.2.2"], 60).await;
    let mut resolved = dns.resolve("app.test").await.unwrap();
    assert_eq!(resolved.pop().unwrap(), "[2001:db8::1]:80");
    resolved.sort();
    assert_eq!(resolved, ["192.0.2.1:80", "192.0.2.2:80"]);
}

#[tokio::test]
async fn an_answer_holds_for_its_ttl_and_no_longer() {
    let dns = Dns::answering(&["192.0.2.1"], 1).await;
    for _ in 0..5 {
        assert_eq!(dns.resolve("app.test").await.unwrap(), ["192.0.2.1:80"]);
    }
    assert_eq!(dns.asked(), 1);
    dns.changes_to(&["192.0.2.9"], 3600);
    let changed = async {
        while dns.resolve("app.test").await.unwrap() != ["192.0.2.9:80"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), changed).await.expect("the change is seen after the TTL");
    assert_eq!(dns.asked(), 2);
}

#[tokio::test]
async fn a_literal_asks_nobody_but_stands_under_the_address_rules() {
    let dns = Dns::answering(&["192.0.2.1"], 60).await;
    assert_eq!(dns.resolve("127.0.0.1").await.unwrap(), ["127.0.0.1:80"]);
    assert_eq!(dns.resolve("2001:db8::7").await.unwrap(), ["[2001:db8::7]:80"]);
    for forbidden in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254"] {
        assert!(dns.resolve(forbidden).await.unwrap_err().contains("metadata"), "{forbidden}");
        assert!(dns.resolver.needs(forbidden).await.is_err());
    }
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn a_name_that_turns_into_a_metadata_address_is_refused() {
    let dns = Dns::answering(&["192.0.2.1", "169.254.169.254"], 1).await;
    assert_eq!(dns.resolve("app.test").await.unwrap(), ["192.0.2.1:80"]);
    dns.changes_to(&["169.254.169.254", "::ffff:100.100.100.200"], 60);
    let refused = dns.resolve("other.test").await.unwrap_err();
    assert!(refused.starts_with("other.test: ") && refused.contains("metadata"), "{refused}");
    // Decimal and octal spellings are names to us, and what they resolve to is checked like any other.
    for spelling in ["2852039166", "0251.0376.0251.0376", "0xa9fea9fe"] {
        assert!(dns.resolve(spelling).await.is_err(), "{spelling}");
    }
}

#[tokio::test]
async fn no_such_name_and_no_address_are_sentences() {
    let dns = Dns::answering(&[], 60).await;
    assert_eq!(dns.resolve("nowhere.test").await.unwrap_err(), "cannot resolve nowhere.test: no such name");
    assert!(dns.resolve("empty.test").await.unwrap_err().starts_with("cannot resolve empty.test: "));
    for wrong in ["", "a..b", &"x".repeat(300), "\u{0}"] {
        assert!(dns.resolve(wrong).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn failures_are_not_remembered() {
    let dns = Dns::answering(&[], 60).await;
    dns.resolve("app.test").await.unwrap_err();
    dns.changes_to(&["192.0.2.1"], 60);
    assert_eq!(dns.resolve("app.test").await.unwrap(), ["192.0.2.1:80"]);
}

#[tokio::test(start_paused = true)]
async fn servers_that_say_nothing_are_an_error_within_ten_seconds() {
    let dns = Dns::answering(&[], 60).await;
    *dns.zone.lock() = None;
    let began = tokio::time::Instant::now();
    let error = dns.resolve("app.test").await.unwrap_err();
    assert!(error.starts_with("cannot resolve app.test: "), "{error}");
    assert!(began.elapsed() <= LOOKUP_TIMEOUT);
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_read_again() {
    let dns = Dns::answering(&["192.0.2.1"], 60).await;
    std::fs::write(dns.hosts.path(), "192.0.2.50 app.test app\n2001:db8::50 app.test # comment\n").unwrap();
    assert_eq!(dns.resolve("app.test").await.unwrap(), ["192.0.2.50:80", "[2001:db8::50]:80"]);
    std::fs::write(dns.hosts.path(), "192.0.2.51 app2.test\n").unwrap();
    assert_eq!(dns.resolve("app2.test").await.unwrap(), ["192.0.2.51:80"]);
    assert_eq!(dns.asked(), 0);
}

#[tokio::test]
async fn a_machine_without_dns_resolves_literals_hosts_and_localhost_and_says_why_nothing_else() {
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "192.0.2.50 app\n").unwrap();
    let reason = "names cannot be resolved: /etc/resolv.conf: not found".to_owned();
    let resolver = Resolver::with(Err(reason), leaked(&hosts));
    for host in ["192.0.2.1", "app", "localhost", "api.localhost"] {
        assert!(resolver.resolve(host, 80).await.is_ok(), "{host}");
        assert_eq!(resolver.needs(host).await, Ok(()));
    }
    for error in [resolver.resolve("app.test", 80).await.map(drop), resolver.needs("app.test").await] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("app.test") && error.contains("/etc/resolv.conf"), "{error}");
    }
}

#[tokio::test]
async fn the_cache_is_bounded_and_keeps_the_newest() {
    let dns = Dns::answering(&["192.0.2.1"], 3600).await;
    for n in 0..CACHED_NAMES + 200 {
        dns.resolve(&format!("n{n}.test")).await.unwrap();
    }
    dns.resolver.0.cache.run_pending_tasks();
    assert!(dns.resolver.0.cache.entry_count() <= CACHED_NAMES);
    let asked = dns.asked();
    dns.resolve(&format!("n{}.test", CACHED_NAMES + 199)).await.unwrap();
    assert_eq!(dns.asked(), asked);
}
