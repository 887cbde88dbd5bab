//! What holds of every request.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn any_request_is_checked_without_a_panic_and_never_accepted_unsigned(
        value in prop::collection::vec(any::<u8>(), 0..120),
        likely in "(t=[0-9]{0,12},)?(v1[=,][0-9a-zA-Z+/=]{0,70}[, ]){0,3}(sha256=[0-9a-f]{64})?",
        time in "[0-9]{0,14}|.{0,8}",
        id in ".{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        url in ".{0,40}",
    ) {
        let schemes = [
            plain(), list(), versioned(), url_and_form(), clear("token", Some("B ")), clear("basic", None), jwt(),
            in_form(), in_body(), numbered(), manifest(), json(), positional(),
        ];
        for spec in schemes {
            let verifier = verifier(&spec, &["a secret:that nobody guessed"]);
            for value in [&value[..], likely.as_bytes()] {
                for content_type in
                    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=v1"]
                {
                    let headers = Headers::from_pairs([
                        (&b"X-Sig"[..], value), (b"X-Ts", time.as_bytes()), (b"X-Id", id.as_bytes()),
                        (b"X-Sig-1", value), (b"Content-Type", content_type.as_bytes()),
                    ]);
                    for body in [&body[..], value] {
                        let message = Message { url: &url, query: Some(&id), ..message(&headers, body) };
                        prop_assert!(verifier.verify(&message, NOW).is_err());
                        prop_assert!(verifier.verify_untimed(&message).is_err());
                    }
                }
            }
        }
    }

    #[test]
    fn the_short_way_of_the_usual_scheme_and_the_long_one_say_the_same(
        value in "(sha256=|sha1=)?[0-9a-fA-F]{0,70}", body in prop::collection::vec(any::<u8>(), 0..60),
        genuine in any::<bool>(), twice in any::<bool>(),
    ) {
        // A second template takes the scheme off the short way, and matches nothing that the first does not.
        let long = SchemeSpec { signed: texts(&["{body}", "{body}"]), ..plain() };
        let value = if genuine { header(&signed(&plain(), "two", &body), "x-sig") } else { value };
        let mut pairs = vec![("X-Sig", value.as_str())];
        pairs.extend(twice.then_some(("x-sig", "sha256=00")));
        let headers = Headers::from_pairs(pairs);
        let [short, long] = [plain(), long].map(|spec| check(&spec, &["one", "two"], &headers, &body));
        prop_assert_eq!(short.is_ok(), genuine && !twice);
        prop_assert_eq!(short, long);
    }

    #[test]
    fn what_is_signed_verifies_with_that_secret_only(
        secret in "[!-~]{1,40}", other in "[!-~]{1,40}", body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for spec in
            [plain(), list(), versioned(), url_and_form(), clear("token", None), jwt(), numbered(), positional()]
        {
            let headers = signed(&spec, &secret, &body);
            prop_assert!(check(&spec, &[&secret], &headers, &body).is_ok());
            prop_assert_eq!(check(&spec, &[&other], &headers, &body).is_ok(), secret == other);
        }
    }
}
