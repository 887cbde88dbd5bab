use super::*;

/// A certificate and its key, made by openssl as they are needed so that none in the repository expires.
fn made(name: &str) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .current_dir(dir.path())
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", &format!("/CN={name}")])
        .output()
        .expect("openssl is needed for this test");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    (read("cert.pem"), read("key.pem"))
}

fn secret(bytes: &[u8]) -> Option<Secret> {
    Some(Secret::new(bytes))
}

#[test]
fn what_is_right_is_parsed_and_what_is_left_out_is_the_default() {
    assert!(TlsSettings::new(TlsOptions::default()).unwrap().is_default());
    let ((one, key), (two, _)) = (made("one"), made("two"));
    let both = [&b"# a comment\n"[..], &one, &two].concat();
    let options = TlsOptions {
        ca: Some(both),
        cert: Some(one),
        key: secret(&key),
        server_name: Some("app.internal".to_owned()),
    };
    let tls = TlsSettings::new(options.clone()).unwrap();
    assert_eq!((tls.roots().unwrap().len(), tls.authorities().unwrap().len()), (2, 2));
    assert_eq!(tls.identity().unwrap().0.len(), 1);
    assert!(tls.client_cert().unwrap().has_certs());
    assert_eq!(tls.server_name(), Some(&ServerName::try_from("app.internal").unwrap()));
    assert_eq!(tls, TlsSettings::new(options.clone()).unwrap());
    assert_ne!(tls, TlsSettings::new(TlsOptions { server_name: None, ..options.clone() }).unwrap());
    assert_ne!(tls, TlsSettings::new(TlsOptions { ca: Some(two), ..options }).unwrap());
    let said = format!("{tls:?}");
    assert!(!said.contains("BEGIN") && said.contains("app.internal"), "{said}");
}

#[test]
fn what_is_wrong_names_its_key_and_never_shows_it() {
    let ((cert, key), (_, other)) = (made("one"), made("two"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    // Cut in its middle: base64 that ends, DER that does not.
    let short = text(&cert).lines().take(3).collect::<Vec<_>>().join("\n") + "\n-----END CERTIFICATE-----\n";
    let with = |change: &dyn Fn(&mut TlsOptions)| {
        let mut options = TlsOptions { cert: Some(cert.clone()), key: secret(&key), ..TlsOptions::default() };
        change(&mut options);
        let complaints = TlsSettings::new(options).unwrap_err();
        assert!(!format!("{complaints:?}").contains("canary"), "{complaints:?}");
        complaints
            .into_iter()
            .map(|complaint| format!("{}: {}", complaint.key, complaint.message))
            .collect::<Vec<_>>()
    };
    for (change, said) in [
        (
            &(|o: &mut TlsOptions| o.ca = Some(b"canary".to_vec())) as &dyn Fn(&mut TlsOptions),
            "tls.ca: it holds no certificate",
        ),
        (&|o| o.ca = Some(key.clone()), "tls.ca: it holds no certificate"),
        (&|o| o.ca = Some(short.clone().into()), "tls.ca: certificate 1 in it is damaged"),
        (
            &|o| o.ca = Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
            "tls.ca: it is not PEM",
        ),
        (&|o| o.cert = Some(short.clone().into()), "tls.cert: certificate 1 in it is damaged"),
        (&|o| o.cert = None, "tls.key: a key without"),
        (&|o| o.key = None, "tls.cert: a certificate without"),
        (&|o| o.key = secret(&other), "tls.key: it is not the key of the certificate"),
        (&|o| o.key = secret(b"canary"), "tls.key: it holds no private key"),
        (&|o| o.key = secret(&cert), "tls.key: it holds no private key"),
        (&|o| o.server_name = Some("not a name".to_owned()), "tls.server_name: \"not a name\""),
    ] {
        let complaints = with(change);
        assert!(complaints.len() == 1 && complaints[0].starts_with(said), "{said}: {complaints:?}");
    }
}
