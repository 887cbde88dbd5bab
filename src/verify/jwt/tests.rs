use proptest::prelude::*;

use super::*;

/// The signing key and tokens of MessageBird's `go-rest-api`, `signature_jwt/testdata/reference.json`.
const SECRET: &str = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb";
const HS256: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.6Fp0rVOsRr1fj9S2GidXAfkmPVofKr8_RTffC6G6r2E";
const HS384: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.KNMW-29X77lZeuPmThmHWc_RUAvTkaDkpxIZK6mqE08v8mWKiU9Edh4QXwAJO2nv";
const HS512: &str = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhwIjoxNjI1NDc5MjYwLCJqdGkiOiI1OWEyNDRkYy1lOWFkLTRlMjMtOTc3OC0zNzFmYWEyMzhmNzIiLCJ1cmxfaGFzaCI6IjBmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.rd6r0iMyNGnVPCwurETphE3Y8rpAyvvnUK0S8WvGUkt2E1QSRAZ7NZJZBHw1Y_Wb5W-sK9HJr_PRL2vz4jRT3Q";

const RSA: &str = include_str!("../asymmetric/testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../asymmetric/testdata/rsa-public.pem");
const P521: &str = include_str!("../asymmetric/testdata/p521.pem");
const JWKS: &str = include_str!("../asymmetric/testdata/jwks.json");

const HS: [JwtAlgorithm; 3] = [JwtAlgorithm::Hs256, JwtAlgorithm::Hs384, JwtAlgorithm::Hs512];

fn symmetric(secret: &str) -> JwtKey {
    JwtKey::Symmetric(Zeroizing::new(secret.as_bytes().to_vec()))
}

fn public(text: &str) -> JwtKey {
    JwtKey::Public(PublicKey::parse_all(text.as_bytes()).unwrap())
}

fn private(text: &str) -> JwtSigner {
    JwtSigner::Private(Box::new(PrivateKey::parse(text.as_bytes()).unwrap()))
}

/// A token with this header, signed right with an HMAC over SHA-256.
fn with_header(header: &Value) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode("{}"));
    let mut mac = Mac::new(Hash::Sha256, SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finish()))
}

#[test]
fn tokens_of_a_provider_verify_and_tell_their_claims() {
    for token in [HS256, HS384, HS512] {
        let claims = verify(token, &HS, &symmetric(SECRET)).unwrap();
        assert_eq!(claims.get("iss").and_then(Value::as_str), Some("MessageBird"));
        assert_eq!((claims.number("nbf"), claims.number("iat")), (Some(1_625_479_200), None));
        assert_eq!(verify(token, &HS, &symmetric("another")).unwrap_err(), JwtFault::NoKeyMatches);
    }
}

#[test]
fn the_scheme_says_which_algorithms_there_are() {
    let only = [JwtAlgorithm::Hs256];
    assert_eq!(verify(HS512, &only, &symmetric(SECRET)).unwrap_err(), JwtFault::AlgorithmNotAllowed);
    for name in ["none", "None", "NONE", "hs256", "", "HS1"] {
        let token = with_header(&json!({ "alg": name }));
        assert_eq!(
            verify(&token, &HS, &symmetric(SECRET)).unwrap_err(),
            JwtFault::AlgorithmNotAllowed,
            "{name}"
        );
        let (unsigned, _) = token.rsplit_once('.').unwrap();
        assert!(verify(&format!("{unsigned}."), &HS, &symmetric(SECRET)).is_err());
    }
}

#[test]
fn a_public_key_is_no_secret_and_a_secret_no_public_key() {
    let algorithms = [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256];
    let confused = sign(
        &json!({}),
        JwtAlgorithm::Hs256,
        &JwtSigner::Symmetric(Zeroizing::new(RSA_PUBLIC.as_bytes().to_vec())),
    );
    assert_eq!(
        verify(&confused.unwrap(), &algorithms, &public(RSA_PUBLIC)).unwrap_err(),
        JwtFault::AlgorithmNotAllowed
    );
    let token = sign(&json!({}), JwtAlgorithm::Rs256, &private(RSA)).unwrap();
    assert!(verify(&token, &algorithms, &public(RSA_PUBLIC)).is_ok());
    assert_eq!(
        verify(&token, &algorithms, &symmetric(RSA_PUBLIC)).unwrap_err(),
        JwtFault::AlgorithmNotAllowed
    );
}

#[test]
fn a_token_is_written_in_one_way_only() {
    let (signed, signature) = HS256.rsplit_once('.').unwrap();
    for token in [
        format!("{HS256}="),
        format!("{HS256} "),
        format!("{HS256}."),
        format!(".{HS256}"),
        format!("{HS256}.{signature}"),
        format!("{signed}.{}F", &signature[..signature.len() - 1]),
        signed.to_owned(),
        signature.to_owned(),
        String::new(),
        "..".to_owned(),
        format!("{}.{}", "A".repeat(70_000), HS256),
    ] {
        assert!(verify(&token, &HS, &symmetric(SECRET)).is_err(), "{token}");
    }
}

#[test]
fn what_a_header_makes_critical_must_be_understood() {
    let fault = |header: Value| verify(&with_header(&header), &HS, &symmetric(SECRET)).err();
    assert_eq!(fault(json!({ "alg": "HS256" })), None);
    for header in [
        json!({ "alg": "HS256", "crit": ["exp"] }),
        json!({ "alg": "HS256", "crit": [] }),
        json!({ "alg": "HS256", "crit": "b64" }),
        json!({ "alg": "HS256", "crit": ["b64"] }),
        json!({ "alg": "HS256", "crit": ["b64", "x"], "b64": true }),
        json!({ "alg": "HS256", "b64": false }),
        json!({ "alg": "HS256", "crit": ["b64"], "b64": false }),
        json!({ "alg": 1 }),
        json!({}),
        json!([]),
    ] {
        assert_eq!(fault(header.clone()), Some(JwtFault::NotAToken), "{header}");
    }
    assert_eq!(fault(json!({ "alg": "HS256", "crit": ["b64"], "b64": true })), None);
}

#[test]
fn a_detached_signature_is_over_what_stands_elsewhere() {
    let body = b"{\"a\": 1}\r\n";
    for (algorithm, signer, key) in [
        (JwtAlgorithm::Rs256, private(RSA), public(RSA_PUBLIC)),
        (JwtAlgorithm::Es512, private(P521), public(JWKS)),
        (JwtAlgorithm::Hs256, JwtSigner::Symmetric(Zeroizing::new(b"k".to_vec())), symmetric("k")),
    ] {
        for unencoded in [false, true] {
            let token = sign_detached(body, unencoded, Map::new(), algorithm, &signer).unwrap();
            let check = |token: &str, body: &[u8]| verify_detached(token, body, false, &[algorithm], &key);
            assert_eq!(check(&token, body), Ok(()));
            assert_eq!(check(&token, b"{\"a\": 1}\n"), Err(JwtFault::NoKeyMatches));
            assert_eq!(check(&token, URL_SAFE_NO_PAD.encode(body).as_bytes()), Err(JwtFault::NoKeyMatches));
            let with_payload = token.replace("..", &format!(".{}.", URL_SAFE_NO_PAD.encode(body)));
            assert_eq!(check(&with_payload, body), Err(JwtFault::NotAToken));
            assert!(verify(&token, &[algorithm], &key).is_err());
            let wanted = if unencoded { Ok(()) } else { Err(JwtFault::NotAToken) };
            assert_eq!(verify_detached(&token, body, true, &[algorithm], &key), wanted);
            assert_eq!(
                verify_detached(&token, body, unencoded, &[JwtAlgorithm::Ps256], &key),
                Err(JwtFault::AlgorithmNotAllowed)
            );
        }
    }
}

#[test]
fn a_token_names_its_key() {
    let keys = |kid: &str| public(&JWKS.replace("45fc75cf-5649-4134-84b3-192c2c78e990", kid));
    let signed = |kid: &str| {
        let mut header = Map::new();
        header.insert("kid".to_owned(), kid.into());
        sign_detached(b"x", false, header, JwtAlgorithm::Es512, &private(P521)).unwrap()
    };
    let check = |token: &str, key: &JwtKey| verify_detached(token, b"x", false, &[JwtAlgorithm::Es512], key);
    assert_eq!(check(&signed("a"), &keys("a")), Ok(()));
    assert_eq!(check(&signed("a"), &keys("b")), Err(JwtFault::NoKeyMatches));
    let nameless = include_str!("../asymmetric/testdata/p521-public.pem");
    assert_eq!(check(&signed("a"), &public(nameless)), Ok(()));
}

#[test]
fn times_are_whole_seconds() {
    let claims = json!({ "a": 1.9, "b": -1, "c": "1", "d": 1e300, "e": 1_700_000_000_u64, "f": 0 });
    let Value::Object(claims) = claims else { panic!() };
    let claims = Claims(claims);
    let times: Vec<_> = ["a", "b", "c", "d", "e", "f"].iter().map(|name| claims.number(name)).collect();
    assert_eq!(times, [Some(1), None, None, None, Some(1_700_000_000), Some(0)]);
}

#[test]
fn every_algorithm_has_its_name_and_its_kind_of_key() {
    for (algorithm, name, _) in ALGORITHMS {
        assert_eq!((JwtAlgorithm::parse(name), algorithm.name()), (Some(algorithm), name));
        assert_eq!(algorithm.is_symmetric(), name.starts_with("HS"));
        assert_eq!(algorithm.asymmetric().is_some(), !name.starts_with("HS"));
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token(text in "[A-Za-z0-9_.-]{0,80}|.{0,80}", claims in "[ -~]{0,20}") {
        let forged = format!("{}.{}.{}", URL_SAFE_NO_PAD.encode("{\"alg\":\"HS256\"}"), URL_SAFE_NO_PAD.encode(&claims), text);
        for token in [&text, &forged] {
            prop_assert!(verify(token, &HS, &symmetric(SECRET)).is_err());
            prop_assert!(verify_detached(token, claims.as_bytes(), false, &HS, &symmetric(SECRET)).is_err());
        }
    }

    #[test]
    fn a_token_with_a_flipped_bit_is_none(at in any::<prop::sample::Index>(), bit in 0..7_u32) {
        let mut token = HS256.as_bytes().to_vec();
        let index = at.index(token.len());
        token[index] ^= 1 << bit;
        let token = String::from_utf8(token).unwrap();
        prop_assert!(verify(&token, &HS, &symmetric(SECRET)).is_err());
    }
}
