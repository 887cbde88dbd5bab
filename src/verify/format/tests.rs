use proptest::prelude::*;

use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn format(spec: SignatureSpec) -> Format {
    let mut faults = Faults::default();
    let format = Writing::compile(&spec, &mut faults).format;
    assert!(faults.0.is_empty(), "{:?}", faults.0);
    format
}

fn list(keys: &[&str]) -> Format {
    format(SignatureSpec { format: Some("list".into()), keys: texts(keys), ..Default::default() })
}

fn positional(fields: &[&str], keys: &[&str], separator: &str) -> Format {
    format(SignatureSpec {
        format: Some("positional".into()),
        fields: texts(fields),
        keys: texts(keys),
        separator: Some(separator.into()),
        ..Default::default()
    })
}

fn json(members: &[&str]) -> Format {
    format(SignatureSpec { format: Some("base64json".into()), keys: texts(members), ..Default::default() })
}

fn versioned() -> Format {
    Format::Versioned { version: "v1".into() }
}

fn all(format: &Format, value: &str) -> Vec<String> {
    format.signatures(value).map(Cow::into_owned).collect()
}

fn faults(spec: SignatureSpec) -> Vec<&'static str> {
    let mut faults = Faults::default();
    Writing::compile(&spec, &mut faults);
    faults.0.iter().map(|fault| fault.key).collect()
}

#[test]
fn a_list_is_searched_for_its_keys() {
    assert_eq!(all(&list(&["v1"]), "t=1, v1=a=b,v0=no,V1=no,v1 =no,v1=,v1=c ,v1"), ["a=b", "", "c"]);
    assert_eq!(all(&list(&["h1", "h2"]), "h2=x,h1=y"), ["x", "y"]);
    assert_eq!(list(&["v1"]).item("t=1,v1=x, t=1", "t").as_deref(), Some("1"));
    assert_eq!(list(&["v1"]).item("t=1,v1=x,t=2", "t"), None);
    assert_eq!(list(&["v1"]).item("v1=x", "t"), None);
}

#[test]
fn a_list_has_whatever_marks_it_is_written_with() {
    let pairs = format(SignatureSpec {
        format: Some("list".into()),
        keys: texts(&["*"]),
        separator: Some("&".into()),
        assign: Some("|".into()),
        ..Default::default()
    });
    assert_eq!(all(&pairs, "key_a|1f&key_b|2f&3f"), ["1f", "2f"]);
    let blanks = format(SignatureSpec {
        format: Some("list".into()),
        keys: texts(&["v1"]),
        separator: Some(" ".into()),
        ..Default::default()
    });
    assert_eq!(all(&blanks, "v1=a  v1=b v2=c"), ["a", "b"]);
}

#[test]
fn fields_go_by_their_order_and_what_is_left_over_by_the_last_name() {
    let time_first = positional(&["t", "v1"], &[], ",");
    assert_eq!(all(&time_first, "17, a,b"), ["a", "b"]);
    assert_eq!(time_first.item("17, a,b", "t").as_deref(), Some("17"));
    assert_eq!(all(&time_first, "17"), Vec::<String>::new());
    let four = positional(&["scheme", "version", "ts", "sig"], &["sig"], ";");
    assert_eq!(all(&four, "hmac;1;17;x=="), ["x=="]);
    assert_eq!(four.item("hmac;1;17;x==", "ts").as_deref(), Some("17"));
    assert_eq!(four.item("hmac;1", "ts"), None);
}

#[test]
fn bare_values_are_all_signatures() {
    assert_eq!(all(&Format::Values { separator: ',' }, "a, b,,c"), ["a", "b", "", "c"]);
}

#[test]
fn a_versioned_header_is_searched_for_its_version() {
    assert_eq!(all(&versioned(), "v1,a v1a,no v2,no v1,b  x v1,"), ["a", "b", ""]);
    assert_eq!(all(&versioned(), "v1,a, v2,no, v1,b"), ["a", "b"]);
    assert_eq!(all(&versioned(), "v1,a, v1,b,"), ["a", "b,"]);
}

#[test]
fn a_json_object_in_base64_is_opened_for_its_members() {
    let format = json(&["signature", "old"]);
    let value = STANDARD.encode(r#"{"alg":"ecdsa","signature":"MEU\u003d","t":17}"#);
    let open = format.open(&value).unwrap();
    assert_eq!(all(&format, &open), ["MEU="]);
    assert_eq!(format.item(&open, "t").as_deref(), Some("17"));
    assert_eq!(format.item(&open, "none"), None);
    for none in ["{}", "e30", "//8=", &"e30=".repeat(4096)] {
        assert_eq!(format.open(none), None, "{none}");
    }
}

#[test]
fn a_flood_of_signatures_is_looked_at_up_to_the_limit() {
    assert_eq!(all(&list(&["v1"]), &"v1=x,".repeat(1000)).len(), MAX_SIGNATURES);
    assert_eq!(all(&versioned(), &"v1,x ".repeat(1000)).len(), MAX_SIGNATURES);
    assert_eq!(all(&positional(&["s"], &[], ","), &"x,".repeat(1000)).len(), MAX_SIGNATURES);
    let groups = Writing { groups: Some(' '), ..writing(list(&["v1"])) };
    assert_eq!(groups.groups(&"v1=x ".repeat(1000)).count(), MAX_SIGNATURES);
}

fn writing(format: Format) -> Writing {
    Writing { format, groups: None, prefixes: [Box::from("")].into(), encoding: Encoding::Hex }
}

#[test]
fn groups_are_whole_lists_of_their_own() {
    let groups = Writing { groups: Some(' '), ..writing(list(&["v1"])) };
    assert_eq!(groups.groups("t=1,v1=a t=2,v1=b").collect::<Vec<_>>(), ["t=1,v1=a", "t=2,v1=b"]);
    assert_eq!(groups.groups("").count(), 0);
    assert_eq!(writing(Format::Plain).groups("").collect::<Vec<_>>(), [""]);
}

#[test]
fn one_of_the_prefixes_stands_before_a_signature() {
    let optional = Writing { prefixes: ["sha256=".into(), "".into()].into(), ..writing(Format::Plain) };
    assert_eq!(optional.digits("sha256=ab"), Some("ab"));
    assert_eq!(optional.digits("ab"), Some("ab"));
    let required = Writing { prefixes: ["sha256=".into()].into(), ..writing(Format::Plain) };
    assert_eq!(required.digits("ab"), None);
}

#[test]
fn what_is_written_is_read_again() {
    let time = Some(("t", "17"));
    for format in [
        Format::Plain,
        list(&["v1"]),
        versioned(),
        positional(&["t", "v1"], &[], ","),
        positional(&["scheme", "t", "sig"], &["sig"], ";"),
        Format::Values { separator: ',' },
        json(&["signature"]),
    ] {
        let value = writing(format.clone()).write(b"\x0a\xff", time.as_slice());
        let open = format.open(&value).unwrap();
        assert_eq!(all(&format, &open), ["0aff"], "{value}");
        if format.has_items() {
            assert_eq!(format.item(&open, "t").as_deref(), Some("17"), "{value}");
        }
    }
}

#[test]
fn formats_take_their_own_words_and_need_them() {
    let with = |word: &str| SignatureSpec { format: Some(word.into()), ..Default::default() };
    assert_eq!(faults(with("list")), ["signature.keys"]);
    assert_eq!(faults(with("base64json")), ["signature.keys"]);
    assert_eq!(faults(with("positional")), ["signature.fields"]);
    assert_eq!(faults(with("versioned")), ["signature.version"]);
    assert_eq!(faults(with("values")), Vec::<&str>::new());
    assert_eq!(faults(with("lost")), ["signature.format"]);
    let all = SignatureSpec {
        keys: texts(&["a"]),
        fields: texts(&["a"]),
        separator: Some(";".into()),
        assign: Some(":".into()),
        version: Some("v1".into()),
        ..Default::default()
    };
    assert_eq!(
        faults(all),
        [
            "signature.keys",
            "signature.separator",
            "signature.assign",
            "signature.fields",
            "signature.version"
        ]
    );
    for separator in ["", "=", ", ", "é", "\t"] {
        let spec = SignatureSpec { keys: texts(&["a"]), separator: Some(separator.into()), ..with("list") };
        assert_eq!(faults(spec), ["signature.separator"], "{separator:?}");
    }
    assert_eq!(
        faults(SignatureSpec { groups: Some("ab".into()), ..Default::default() }),
        ["signature.groups"]
    );
}

proptest! {
    #[test]
    fn any_value_is_taken_apart_without_a_panic(value in ".{0,100}|(v1[=,;]?[^ ,]{0,5}[ ,=;]?){0,40}") {
        for format in [
            Format::Plain, list(&["v1", ""]), versioned(), positional(&["t", "v1"], &[], ";"),
            Format::Values { separator: ' ' }, json(&["v1"]), list(&["*"]),
        ] {
            let open = format.open(&value);
            for value in open.iter().map(|open| &**open).chain([&*value]) {
                prop_assert!(format.signatures(value).count() <= MAX_SIGNATURES);
                let _ = format.item(value, "t");
            }
            let grouped = Writing { groups: Some(' '), ..writing(format) };
            prop_assert!(grouped.groups(&value).count() <= MAX_SIGNATURES);
        }
    }
}
