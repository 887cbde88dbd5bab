use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// What the signatures below were made over, with `openssl dgst` and the keys in `testdata`.
const MESSAGE: &[u8] = b"The quick brown fox";

const RSA: &str = include_str!("testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rsa-public.pem");
const P256: &str = include_str!("testdata/p256.pem");
const P256_PUBLIC: &str = include_str!("testdata/p256-public.pem");
const P384_PUBLIC: &str = include_str!("testdata/p384-public.pem");
/// The key pair of `truelayer-signing`'s own tests.
const P521: &str = include_str!("testdata/p521.pem");
const P521_PUBLIC: &str = include_str!("testdata/p521-public.pem");
const JWKS: &str = include_str!("testdata/jwks.json");
const ED25519: &str = include_str!("testdata/ed25519.pem");
const ED25519_PUBLIC: &str = include_str!("testdata/ed25519-public.pem");

fn key(text: &str) -> PublicKey {
    let mut keys = PublicKey::parse_all(text.as_bytes()).unwrap();
    assert_eq!(keys.len(), 1);
    keys.remove(0)
}

fn fault(text: &str) -> String {
    PublicKey::parse_all(text.as_bytes()).unwrap_err()
}

fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// It verifies; with any bit of message or signature flipped, cut or grown, or by another algorithm, it does not.
fn holds(key: &PublicKey, algorithm: Asymmetric, message: &[u8], signature: &[u8]) {
    assert!(key.fits(algorithm), "{key:?} {algorithm:?}");
    assert!(key.verify(algorithm, message, signature), "{key:?} {algorithm:?}");
    for at in 0..signature.len().min(40) {
        let mut flipped = signature.to_vec();
        let index = at * signature.len() / 40_usize.min(signature.len());
        flipped[index] ^= 1 << (at % 8);
        assert!(!key.verify(algorithm, message, &flipped), "{algorithm:?}: bit {} of byte {index}", at % 8);
    }
    let mut other = message.to_vec();
    other[message.len() / 2] ^= 1;
    assert!(!key.verify(algorithm, &other, signature));
    assert!(!key.verify(algorithm, &message[1..], signature));
    assert!(!key.verify(algorithm, message, &signature[1..]));
    assert!(!key.verify(algorithm, message, &[signature, &[0]].concat()));
    assert!(!key.verify(algorithm, message, &[]));
    for other in ALL.into_iter().filter(|other| *other != algorithm) {
        // A salt as long as the hash is a salt of any length.
        let same = [algorithm, other]
            .iter()
            .all(|a| matches!(a, Asymmetric::RsaPssSha256 | Asymmetric::RsaPssSha256AnySalt));
        assert!(same || !key.verify(other, message, signature), "{algorithm:?} as {other:?}");
    }
}

const ALL: [Asymmetric; 14] = [
    Asymmetric::Ed25519,
    Asymmetric::EcdsaP256Sha256,
    Asymmetric::EcdsaP256Sha1,
    Asymmetric::P256Fixed,
    Asymmetric::P384Fixed,
    Asymmetric::P521Fixed,
    Asymmetric::RsaSha1,
    Asymmetric::RsaSha256,
    Asymmetric::RsaSha384,
    Asymmetric::RsaSha512,
    Asymmetric::RsaPssSha256,
    Asymmetric::RsaPssSha384,
    Asymmetric::RsaPssSha512,
    Asymmetric::RsaPssSha256AnySalt,
];

#[test]
fn signatures_of_openssl_verify() {
    let rsa = key(RSA_PUBLIC);
    for (algorithm, signature) in [
        (
            Asymmetric::RsaSha1,
            "mfcNlGm78kO0xGQ+fCCA3B+SYMjGyltsoRRbd/sI/Ah7RTFgNgQMM5IINnn7ZfMN37gdpR1/FoHM28nmyUPw60lPhWrHqRBCWxJC0wtJnHuGzgZYCN7hbvnWJXbGwaGv32jjT3bBk4YJPZhxHBqQ+cZJKmEQfoH9MBECKS0hwZv859eQCOqbuDyqs7tbzUToz2JjuIaG3qwHMS/5HxEyU3LeL0mIQbpFJRW03m3LgZ2j07P6H5YP53DNNTxDPo6v9w6Ah7gyXcaWCiFHerI8C1QQqkQqFaFm0Wvs1BOFfRlD7JOG/vtqE+5TL9S6du/+LsK/X+TZmZSs2bwFAovWMw==",
        ),
        (
            Asymmetric::RsaSha256,
            "ZXO/7UbpxpekErClgHhFjLRY4fJ/sGyiWcfdJzK8BHKJsCuk7daPTfFhnC364GehvMQZjaGTqxVIOsLgHMfIEylEz++Q3Qgw6+FW3BB2gZ8aYuFMBKPyVZA/ACvk1QmMZeRlkRldO9yFUBVmkPCckWI+LMJZtWV08ikiW0Flt1D7exRuZ6vbUwGduBBCX9rcAaX7JODvzwfrysj6YyLP2dPCxHeTDI2Wi9Ggx2ixfBGeMXur5tLrfUFjLgvQ1tvCHcJU/0zawaGbED0CJA+BXub5h1o4eNeWt2G1LtoLRwEhFsNgNqhkH/PjbFYwVbCahyt2WAXlKcMJeE5GqT4nXw==",
        ),
        (
            Asymmetric::RsaSha384,
            "nNWHNtGwOem50elm2KU6K4odPoIjqS7/EictEF6dizJQw8emSIgRjaJKVRmY2cimwJBC4S/EHnw5P1WlTnYwbH+o0KYs5Es/M+5rHwe46aTw34aiTvXLDtw5eRt3ylwBfz6wQmaIz7TZ9B5PN+q10gMpxIPTuvWyfdI1hRJq61S7s0mN2oCtXAZy5Cyyv2zXznllof3XkFoF0+N3O03ihTr0vBGEypqdmFwxdrWQVjNmm0oRO21hN4ho80xgnJRtpPoU7jFFlhi9d6nUQLVdQMGi67SMvk4jo/hZEEhVCghunwhZ2DuGhPjYBxuOyqbD2PWQ1UrcKCgJEp/sDuMpiA==",
        ),
        (
            Asymmetric::RsaSha512,
            "jDHXiAFIzDYH9VObKGEr6qOvM+lL0Zpmj1wh3uT16FvSezqFkpCeVBXv0/TpqkG0JrmO3graOqRFGmwW3wzFPkn8mkctESfbdNuTqaKKMOI0C8fjDSjq4joL2hzvCPC26pAtbunXDxTTzm8GwgLM9SZw2SncGEF83xDK5ohiQD44sNV7w0Vhzp5yqJNMgnjb3MqEGKVmsJEEyicF+2YKFi9x3BJw7LpatmqImS6pxMGE3ybSxLzZe/g9DmP1ojE4xQieFWjZklwMml8926AuOKwJMQCEGpnGSzBf71F2frbb/24ajBQ1lTG33bDGfpluJhmQVEd877I8USCwBnl7OQ==",
        ),
        (Asymmetric::RsaPssSha256, PSS_SHA256),
        (
            Asymmetric::RsaPssSha384,
            "cOuS6dx3xDNRUzbYNM3VZuZ1lnzOAcPRGGwmno4bYjUtDDup3AeqzSyimgQAvpF81MzkcM8afQhzAa9KTnYTuk7S6Cyv9/jd8QQTgXdGaNrcCWb+pdH7oVKkv5G55oaUPk2V/hQZ89xC+m7KMQhd4nRKpd3offebJ3CB0RunkrezXoIfrKOCPB0HUBlak10EPd6lofVb2ttUMtTLBqru7pGn0bT0hL4bsqc/tPEyKys+OMMgqHKkunNk4miC9BoHaM6FsQNVHOmj0+KKePlH1THSXPkRZwfOzDXtxAUkcFgnzvNHsEOqbRLS/Kd4gDgmjGdUyonM2hGmIUjBs/xsEg==",
        ),
        (
            Asymmetric::RsaPssSha512,
            "ZIwLBvdaPo961ivgppv5JSwcaJrMXjALZj7yrXpAE7VMN7KwGgOHfA8PbEieAKakvn2dZZCPzHVbAJyrBeLsbyqlRFTUyDTdp6hTZG4oN0VpIY3UANu1BJpim125joOCvqYtdhUNCbM/qqIQ5nT779Ki6SNuNqxBqEUwWKSRFUvxUzVmzcgwv6kP98Vi9C6M3ROlOXqV2oQhOyUoyofz+RTEyhz05PcwHiwlQTjnxZo1h0KfZ7YMArEFarfnXKNK0zRYZsVLI2GxreyqOQh2gQOVn/1XBk0z9cdF9/engPXasGNRxYu9+KWL4U9iwRh/oFY62T7ZZpcMWziUyZ4Jlg==",
        ),
        (Asymmetric::RsaPssSha256AnySalt, PSS_SHA256),
        (Asymmetric::RsaPssSha256AnySalt, PSS_SHA256_LONGEST_SALT),
    ] {
        holds(&rsa, algorithm, MESSAGE, &base64(signature));
    }
    let p256 = key(P256_PUBLIC);
    let sha1 =
        "MEUCIGh5FwCxjCKsVBkn/J7+miOjAATS/q8IPJPxfjm7f7Z8AiEA5MxUDQJaWWTzaUPtbhcgbCNU+4HUZi7FCa1Etiu1Pg4=";
    holds(&p256, Asymmetric::EcdsaP256Sha1, MESSAGE, &base64(sha1));
    let sha256 =
        "MEQCIHQTvy95l4fvVHWsqjGLXd38vgqvLWLghrZH7IL9gRRjAiAH+qa3jkjSQC51P9zapWrxxg2moZCwWXdQoOl/IQSYug==";
    holds(&p256, Asymmetric::EcdsaP256Sha256, MESSAGE, &base64(sha256));
    let sha384 = "3F6B785E1FA4E3D4F57E315AE6004C66BF8C57FFA540FCBEF09E619326B2F707F88C66AF4E4457257A2E8B297B911FFB\
                  0A023E3A5D3745E9D53059F75711EF19E4D5E4EE306894A832096965EA850DADE17069998DCB9AA17C123012DC9836C5";
    holds(&key(P384_PUBLIC), Asymmetric::P384Fixed, MESSAGE, &hex::decode(sha384).unwrap());
    let ed25519 = "SIzzqDIEpx0psW9fPZDoIOBtwIlDPew0vOCtnEdiE2/ydfQ81BYGgIkNtcecSIGdmDcssrig50LP+a1SlyWmBg==";
    holds(&key(ED25519_PUBLIC), Asymmetric::Ed25519, MESSAGE, &base64(ed25519));
}

const PSS_SHA256: &str = "n8sIhz5UTDM/rMYTVBpAdfuPKLdPWU+hJurYQGdL/5CK70ZnwXpx50QYraIkq5GdpIaKnlLVm2bZuzdqwyaq2ltRBTgCZugyo2XHEFgYLWL4WFhsqon1/MLk7VGP4m/3DJ6fSzm6OsDd/32qS+07+mogSFAFgg65yn9zJnnp9cKWCRzhiJ6MDIX30zwH9pTCnQrOXJEY51JmJd9/2H2oBEDfexjH7NHomxGONRHJ/VngY9wFLATYKVrKDgiA8n3xDnVQEAmKcYJmUwZFwuf54OslsVjAXDslf8MQSOueC30k4qFrAUC1Jufq5EB2yAliE5hMJX34r6+P3BSdPPDdHg==";

/// `-sigopt rsa_pss_saltlen:max`.
const PSS_SHA256_LONGEST_SALT: &str = "peqR33ykc/qXqTNcuijuylvEZxzGmQ5Xj37O1YGZ9Z3AZBzLppXzIWmn4LXg+vMDnBuuEhBkijhfn6qELzE2mw8xNWSX3+BkQ1QSzIUa/Rertn4IEoO/MUV1OpZBTZul8SuknomJYWqg7j2lrk9ttRI6tHPYB2pWPdvURZY7EKx+i74J2cKS3RG9F8M3G8FPslSiWdrHXwSFEO0uRIjLrFzir5XkwBLLVAemfqEI9+X8fQXaSnwutmTsfOSvZpNNEXcWKaWT6JEVTnblZIKqIPEYbcHhbusgtw5Ag2Q1hr+qfOHIpJTjGnVXOjiiAGbgdbIOFnLm8fzo5el7s+gSgg==";

/// eBay's `event-notification-nodejs-sdk`, `test/test.json`, case VALID: PEM on one line, ECDSA over SHA-1.
#[test]
fn a_pem_on_one_line_is_read_and_ecdsa_over_sha1_checked() {
    let pem = "-----BEGIN PUBLIC KEY-----MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZhhxXKtR+TOvtDbgTPCkSof02qgBB7IsYOyf76ilExJ/upAa/vKIKheOoCyOpcLmi4t0b4uepb7LLjmMr90FUg==-----END PUBLIC KEY-----";
    let message = br#"{"metadata":{"topic":"MARKETPLACE_ACCOUNT_DELETION","schemaVersion":"1.0","deprecated":false},"notification":{"notificationId":"49feeaeb-4982-42d9-a377-9645b8479411_33f7e043-fed8-442b-9d44-791923bd9a6d","eventDate":"2021-03-19T20:43:59.462Z","publishDate":"2021-03-19T20:43:59.679Z","publishAttemptCount":1,"data":{"username":"test_user","userId":"ma8vp1jySJC","eiasToken":"nY+sHZ2PrBmdj6wVnY+sEZ2PrA2dj6wJnY+gAZGEpwmdj6x9nY+seQ=="}}}"#;
    let signature =
        "MEYCIQCfxfIWuxmWcIBQJ9c5/X7iGDJqs2RCGsBEaAjinyrrfAIhAIV6wGcTiBuV5KJUif2hokyrL+Q9ssHkad+mx2nEE25w";
    holds(&key(pem), Asymmetric::EcdsaP256Sha1, message, &base64(signature));
}

/// The certificate and the request of `wechatpay-go`'s `core/notify/notify_test.go`.
#[test]
fn a_certificate_is_a_key() {
    let message = include_str!("testdata/certificate-message.txt");
    let signature = "tJHIiIS9eB2hAYstmAmbbD3ZE5LiIm/Ug5tuL4fC0YOFRWIHV39UFIZXC0e9Wl6lBu6sKvkqDkzpqzBsVHyXFlbYZTOQrVdG4b6LfTnK4mikv9++ixJMd3vTf2yCqvBkh98zs3Ds5zsYQakzbcwhmw4fMJs4nPLws28H0UW9FjDR//rxELLwXvV1VEA1IBLX70xptjL8hrfUjEE8kkry6yNJTHZRU8CAc7qHli2Ng1V1qb9ARbK8A3ThmFmPQvRGrapI/jS2laKKgYUmfdEdkNO6B2Cke5e8VTxY406ArAmQ90GAihDwIcb16TQMnzCMBoutnwZKNiKRACrFmtxw2Q==";
    let certificate = include_str!("testdata/certificate.pem");
    holds(&key(certificate), Asymmetric::RsaSha256, message.as_bytes(), &base64(signature));
    let chain = format!("{certificate}{}", include_str!("testdata/rsa-certificate.pem"));
    holds(&key(&chain), Asymmetric::RsaSha256, message.as_bytes(), &base64(signature));
}

/// The case "valid" of `sendgrid-python`'s `test_eventwebhook.py`; those of Discord's and other keys are constructed.
#[test]
fn a_key_is_read_in_whatever_form_it_comes() {
    let rsa = "ZXO/7UbpxpekErClgHhFjLRY4fJ/sGyiWcfdJzK8BHKJsCuk7daPTfFhnC364GehvMQZjaGTqxVIOsLgHMfIEylEz++Q3Qgw6+FW3BB2gZ8aYuFMBKPyVZA/ACvk1QmMZeRlkRldO9yFUBVmkPCckWI+LMJZtWV08ikiW0Flt1D7exRuZ6vbUwGduBBCX9rcAaX7JODvzwfrysj6YyLP2dPCxHeTDI2Wi9Ggx2ixfBGeMXur5tLrfUFjLgvQ1tvCHcJU/0zawaGbED0CJA+BXub5h1o4eNeWt2G1LtoLRwEhFsNgNqhkH/PjbFYwVbCahyt2WAXlKcMJeE5GqT4nXw==";
    let body: String = RSA_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    for text in [
        RSA_PUBLIC.to_owned(),
        format!("\n  {}\n", RSA_PUBLIC.replace('\n', "\\n")),
        RSA_PUBLIC.replace('\n', "\r\n"),
        RSA_PUBLIC.replace('\n', " "),
        include_str!("testdata/rsa-public-pkcs1.pem").to_owned(),
        include_str!("testdata/rsa-certificate.pem").to_owned(),
        body,
    ] {
        assert!(key(&text).verify(Asymmetric::RsaSha256, MESSAGE, &base64(rsa)), "{text}");
    }
    let ed25519 =
        base64("SIzzqDIEpx0psW9fPZDoIOBtwIlDPew0vOCtnEdiE2/ydfQ81BYGgIkNtcecSIGdmDcssrig50LP+a1SlyWmBg==");
    let der: String = ED25519_PUBLIC.lines().filter(|line| !line.starts_with('-')).collect();
    let raw = &base64(&der)[12..];
    let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(raw);
    for text in [
        hex::encode(raw),
        hex::encode_upper(raw),
        STANDARD.encode(raw),
        url_safe.clone(),
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{url_safe}","kid":"k"}}"#),
        der,
    ] {
        assert!(key(&text).verify(Asymmetric::Ed25519, MESSAGE, &ed25519), "{text}");
    }
    let spki = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let message = "1600112502[{\"email\":\"hello@world.com\",\"event\":\"dropped\",\"reason\":\"Bounced Address\",\"sg_event_id\":\"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA\",\"sg_message_id\":\"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0\",\"smtp-id\":\"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>\",\"timestamp\":1600112492}]\r\n";
    let signature =
        "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    holds(&key(spki), Asymmetric::EcdsaP256Sha256, message.as_bytes(), &base64(signature));
}

#[test]
fn a_set_of_keys_gives_those_that_sign_by_their_names() {
    let keys = PublicKey::parse_all(JWKS.as_bytes()).unwrap();
    let names: Vec<_> = keys.iter().map(|key| key.kid().unwrap()).collect();
    assert_eq!(names, ["db2e0bb4-e33d-4fc6-a8c5-645e70331127", "45fc75cf-5649-4134-84b3-192c2c78e990"]);
    assert_eq!(format!("{keys:?}"), "[[RSA key], [P-521 key]]");
    let signature = PrivateKey::parse(P521.as_bytes()).unwrap().sign(Asymmetric::P521Fixed, MESSAGE).unwrap();
    assert!(
        keys[1].verify(Asymmetric::P521Fixed, MESSAGE, &signature),
        "the set leaves out a leading zero of x"
    );
    assert!(!keys[0].verify(Asymmetric::P521Fixed, MESSAGE, &signature));
    let others = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"RSA","use":"enc","n":"","e":""}]}"#;
    assert_eq!(fault(others), "is a shared key (\"oct\"), not a public one");
    let encryption = r#"{"keys":[{"kty":"RSA","use":"enc","n":"","e":""}]}"#;
    assert_eq!(fault(encryption), "is a JWKS without a public key for signatures");
    let mut set: serde_json::Value = serde_json::from_str(JWKS).unwrap();
    let one = set["keys"][1].clone();
    set["keys"] = vec![one; 17].into();
    assert_eq!(fault(&set.to_string()), "is a JWKS of more than 16 keys");
}

#[test]
fn what_is_no_public_key_says_what_it_is() {
    for (text, part) in [
        ("", "is no public key: write PEM"),
        ("whsec_x", "is no public key: write PEM"),
        ("abcd", "32 bytes, this is 2"),
        (RSA, "is a private key; what is wanted is the provider's public key"),
        (P256, "is a private key; what is wanted"),
        (include_str!("testdata/p521.pem"), "is a private key; what is wanted"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----",
            "PEM of a CERTIFICATE REQUEST",
        ),
        (&RSA_PUBLIC[..200], "cut off or damaged"),
        (&RSA_PUBLIC.replace('A', "!"), "cut off or damaged"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "its PUBLIC KEY is damaged"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "its CERTIFICATE is damaged"),
        ("{\"kty\":\"RSA\"}", "\"n\" is missing or not base64url"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}", "32 bytes, this is 1"),
        (
            "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"\",\"y\":\"\"}",
            "\"secp256k1\", which is not supported",
        ),
        ("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "not on its curve"),
        ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\",\"d\":\"AA\"}", "is a private key"),
        ("{\"kty\":\"RSA\",\"n\":\"_w\",\"e\":\"AQAB\"}", "is an RSA key of 8 bits; 2048 to 8192"),
        ("{", "looks like JSON but cannot be read"),
    ] {
        let fault = fault(text);
        assert!(fault.contains(part), "{text}: {fault}");
    }
    assert!(fault(RSA).len() < 200, "it does not show the key");
}

#[test]
fn pem_and_json_are_marked_as_keys_and_a_shared_secret_is_not() {
    for text in [RSA_PUBLIC, JWKS, " {\"kty\":\"OKP\"}"] {
        assert!(PublicKey::is_marked(text.as_bytes()), "{text}");
    }
    for text in ["36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb", "", "\u{ff}"] {
        assert!(!PublicKey::is_marked(text.as_bytes()), "{text}");
    }
}

#[test]
fn what_is_signed_here_verifies() {
    for (private, public, algorithms) in [
        (
            RSA,
            RSA_PUBLIC,
            &[
                Asymmetric::RsaSha256,
                Asymmetric::RsaSha384,
                Asymmetric::RsaSha512,
                Asymmetric::RsaPssSha256,
                Asymmetric::RsaPssSha384,
                Asymmetric::RsaPssSha512,
                Asymmetric::RsaPssSha256AnySalt,
            ][..],
        ),
        (include_str!("testdata/rsa-pkcs1.pem"), RSA_PUBLIC, &[Asymmetric::RsaSha256]),
        (P256, P256_PUBLIC, &[Asymmetric::EcdsaP256Sha256, Asymmetric::EcdsaP256Sha1, Asymmetric::P256Fixed]),
        (include_str!("testdata/p256-pkcs8.pem"), P256_PUBLIC, &[Asymmetric::EcdsaP256Sha256]),
        (P521, P521_PUBLIC, &[Asymmetric::P521Fixed]),
        (ED25519, ED25519_PUBLIC, &[Asymmetric::Ed25519]),
    ] {
        let private = PrivateKey::parse(private.as_bytes()).unwrap();
        for algorithm in ALL {
            match private.sign(algorithm, MESSAGE) {
                Ok(signature) => {
                    assert!(algorithms.contains(&algorithm) || algorithms.len() == 1, "{algorithm:?}");
                    holds(&key(public), algorithm, MESSAGE, &signature);
                }
                Err(why) => {
                    assert!(!algorithms.contains(&algorithm) && !why.is_empty(), "{algorithm:?}: {why}")
                }
            }
        }
    }
}

#[test]
fn what_is_no_private_key_says_what_it_is() {
    let fault = |text: &str| PrivateKey::parse(text.as_bytes()).err().unwrap();
    assert!(fault("").contains("no private key"));
    assert!(fault(RSA_PUBLIC).contains("is PEM of a PUBLIC KEY"));
    assert!(
        fault("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----")
            .contains("passphrase")
    );
    let seed = PrivateKey::parse(hex::encode([7; 32]).as_bytes()).unwrap();
    assert_eq!(seed.sign(Asymmetric::Ed25519, MESSAGE).unwrap().len(), 64);
    assert!(seed.sign(Asymmetric::RsaSha256, MESSAGE).unwrap_err().contains("an RSA key"));
}

#[test]
fn the_words_are_those_of_the_language() {
    for word in
        ["ed25519", "ecdsa-p256", "ecdsa-p256-sha1", "rsa-sha1", "rsa-sha256", "rsa-sha512", "rsa-pss-sha256"]
    {
        assert!(Asymmetric::parse(word).is_some(), "{word}");
    }
    assert_eq!(Asymmetric::parse("rsa-md5"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_a_key_or_none_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..200), ascii in "[ -~\n]{0,200}") {
        for text in [&text[..], ascii.as_bytes(), format!("-----BEGIN PUBLIC KEY-----{ascii}-----END PUBLIC KEY-----").as_bytes()] {
            let _ = PublicKey::parse_all(text);
            let _ = PrivateKey::parse(text);
        }
    }

    #[test]
    fn any_der_is_a_key_or_none_without_a_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0..300_usize,
    ) {
        for pem in [
            RSA_PUBLIC,
            P256_PUBLIC,
            include_str!("testdata/rsa-certificate.pem"),
            RSA,
            include_str!("testdata/p256-pkcs8.pem"),
            ED25519,
        ] {
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut der = base64(&body);
            for (at, value) in &flips {
                let index = at.index(der.len());
                der[index] = *value;
            }
            der.truncate(der.len().saturating_sub(cut).max(1));
            let digits = STANDARD.encode(&der);
            for label in ["PUBLIC KEY", "CERTIFICATE", "RSA PUBLIC KEY", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"] {
                let text = format!("-----BEGIN {label}-----\n{digits}\n-----END {label}-----");
                let _ = PublicKey::parse_all(text.as_bytes());
                let _ = PrivateKey::parse(text.as_bytes());
            }
        }
    }

    #[test]
    fn no_bytes_are_a_signature(message in prop::collection::vec(any::<u8>(), 0..40), signature in prop::collection::vec(any::<u8>(), 0..300)) {
        for text in [RSA_PUBLIC, P256_PUBLIC, P384_PUBLIC, P521_PUBLIC, ED25519_PUBLIC] {
            let key = key(text);
            for algorithm in ALL {
                prop_assert!(!key.verify(algorithm, &message, &signature));
                for length in [64, 96, 132, 256] {
                    let mut sized = signature.clone();
                    sized.resize(length, 1);
                    prop_assert!(!key.verify(algorithm, &message, &sized));
                }
            }
        }
    }
}
