//! Files in all layouts, and those that are refused.

use rcgen::{KeyPair, PKCS_RSA_SHA256};

use super::{Files, Pem, one_file, own, own_with, params};
use crate::config::Certificate;
use crate::tls::{CertificateInfo, ServerTls};

/// What the server shows with these files, or why it does not.
fn check(pair: Certificate) -> Result<Vec<CertificateInfo>, String> {
    let tls = ServerTls::read(&[pair]).map_err(|error| error.to_string())?;
    let infos = tls.certificates().into_iter().map(|(_, info)| info);
    Ok(infos.collect())
}

fn names(pair: Certificate) -> Result<Vec<String>, String> {
    let infos = check(pair)?;
    Ok(infos.iter().map(CertificateInfo::name_list).collect())
}

#[test]
fn layouts() {
    let files = Files::new();
    let (mx, other) = (
        own(&["MX.example.org", "*.example.net"]),
        own(&["b.example"]),
    );
    let told = vec!["mx.example.org, *.example.net".to_owned()];
    assert_eq!(names(files.pair("certbot", &mx)).as_ref(), Ok(&told));
    for text in [
        format!("{}{}", mx.key, mx.chain),
        format!("{}{}{}", mx.chain, other.chain, mx.key),
        format!(
            "words\n{}-----BEGIN DH PARAMETERS-----\nMAo=\n-----END DH PARAMETERS-----\n{}",
            mx.chain, mx.key
        ),
    ] {
        let one = one_file(&files.write("one.pem", &text));
        assert_eq!(names(one).as_ref(), Ok(&told), "{text}");
    }
    let both = format!("{}{}{}{}", mx.key, mx.chain, other.key, other.chain);
    let both = one_file(&files.write("both.pem", &both));
    assert_eq!(names(both).unwrap(), [&*told[0], "b.example"]);
    // certbot's files are symbolic links.
    let target = files.pair("archive", &other);
    std::os::unix::fs::symlink(&target.chain, files.path("fullchain.pem")).unwrap();
    std::os::unix::fs::symlink(&target.key, files.path("privkey.pem")).unwrap();
    let linked = Certificate {
        chain: files.path("fullchain.pem"),
        key: files.path("privkey.pem"),
    };
    assert_eq!(names(linked).unwrap(), ["b.example"]);
}

#[test]
fn keys_of_each_kind() {
    let files = Files::new();
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = params(&["rsa.example"]).self_signed(&key).unwrap();
    let rsa = Pem {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    };
    assert_eq!(names(files.pair("rsa", &rsa)).unwrap(), ["rsa.example"]);
}

#[test]
fn the_common_name_counts_only_alone() {
    let files = Files::new();
    let mut named = params(&[]);
    named.distinguished_name = rcgen::DistinguishedName::new();
    named
        .distinguished_name
        .push(rcgen::DnType::CommonName, "CN.example");
    let alone = own_with(named.clone());
    assert_eq!(names(files.pair("alone", &alone)).unwrap(), ["cn.example"]);
    named.subject_alt_names = params(&["san.example"]).subject_alt_names;
    let beside = own_with(named);
    assert_eq!(
        names(files.pair("beside", &beside)).unwrap(),
        ["san.example"]
    );
}

/// The upstream's certificate is printed by `check`, and anybody can make one.
#[test]
fn names_are_printed_without_control_characters() {
    let files = Files::new();
    let mut named = params(&[]);
    named.distinguished_name = rcgen::DistinguishedName::new();
    named
        .distinguished_name
        .push(rcgen::DnType::CommonName, "a\u{1b}[2J\n\u{202e}b");
    let evil = own_with(named);
    let shown = names(files.pair("evil", &evil)).unwrap();
    assert_eq!(shown, ["a\\x1B[2j\\x0A\\xE2\\x80\\xAEb"]);
}

#[test]
fn what_is_refused_is_named() {
    let files = Files::new();
    let (mx, other) = (own(&["a.example"]), own(&["b.example"]));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAo=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cases = [
        (
            mx.chain.clone(),
            other.key.clone(),
            "does not belong to the first",
        ),
        (
            format!("{}{}", other.chain, mx.chain),
            mx.key.clone(),
            "belongs to certificate 2",
        ),
        (String::new(), mx.key.clone(), "found no certificate"),
        (mx.chain.clone(), mx.chain.clone(), "found no private key"),
        (
            mx.chain.clone(),
            format!("{}{}", mx.key, other.key),
            "found 2 private keys",
        ),
        (mx.chain.clone(), encrypted.to_owned(), "has a passphrase"),
        (
            mx.chain.replace("-----END", "---END"),
            mx.key.clone(),
            "no PEM",
        ),
        (mx.chain.replace("MII", "AAA"), mx.key.clone(), "file"),
        (mx.chain.clone(), mx.key.replace("MIG", "AAA"), "file"),
    ];
    for (chain, key, reason) in cases {
        let pair = files.pair("bad", &Pem { chain, key });
        let error = check(pair).unwrap_err();
        assert!(error.contains(reason), "{error}: expected {reason}");
        assert!(error.contains("bad."), "{error}: names no file");
    }
    let missing = one_file(&files.path("missing.pem"));
    assert!(check(missing).unwrap_err().contains("missing.pem"));
    let unordered = format!("{}{}{}{}", mx.chain, mx.key, other.chain, other.key);
    let error = check(one_file(&files.write("one.pem", &unordered))).unwrap_err();
    assert!(error.contains("followed by its own"), "{error}");
}

#[test]
fn the_end_is_announced() {
    let info = CertificateInfo {
        not_before: 1_000 * 86_400,
        not_after: 1_100 * 86_400,
        ..check(Files::new().pair("any", &own(&["a.example"])))
            .unwrap()
            .remove(0)
    };
    let on_day = |day: i64| info.warning(day * 86_400 + 1);
    assert_eq!(on_day(999).unwrap(), "is not valid before 1972-09-27");
    assert_eq!(on_day(1_000), None);
    assert_eq!(on_day(1_060), None);
    assert_eq!(on_day(1_075).unwrap(), "ends in 24 days, on 1973-01-05");
    assert_eq!(on_day(1_100).unwrap(), "ended on 1973-01-05");
}

#[test]
fn an_expired_one_is_taken() {
    let mut old = params(&["old.example"]);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let infos = check(Files::new().pair("old", &own_with(old))).unwrap();
    let warning = infos[0].warning(1_700_000_000).unwrap();
    assert_eq!(warning, "ended on 2020-01-01");
}
