//! What cannot be read as a record, whatever log it is for.

use crate::cast::*;
use crate::git::{commit, git, head, key_file, repository, ssh_keygen, try_git, write_commit};
use crate::golden::world;
use base64ct::{Base64, Encoding as _};
use quipu::model::entry::PackageEntry;
use quipu::model::error::ErrorCode;
use quipu::model::record::SignedRecord;
use quipu::model::sshsig::{Signer as _, SshSig};

/// A release with a little of everything, and the log that it belongs to: the twin of all that follows.
fn twin() -> (Growing, SignedRecord) {
    let log = Growing::new(&[P::Auth]);
    let mut entry = release("1.0.0-rc.1");
    entry.description = Some("line\none \u{7}".into());
    entry.links = vec!["https://a.example/".into(), "https://b.example/".into()];
    entry.dependencies = ["wasi:clocks", "wasi:io"]
        .map(|name| quipu::model::entry::Dependency {
            registry: None,
            package: name.parse().unwrap(),
            requirement: "^1.2.0".parse().unwrap(),
            anchor: None,
        })
        .into();
    let record = log.sign(&alice(), PackageEntry::Release(Box::new(entry)));
    assert_eq!(code(log.append(&record)), "accepted");
    (log, record)
}

/// Checks that an edit of the payload, signed by the right key again, is refused.
#[track_caller]
fn edit_refused(record: &SignedRecord, from: &str, to: &str, expected: &str) {
    let text = payload(record);
    assert!(text.contains(from), "{from:?} is not in {text}");
    assert_eq!(code(read(SHA1, &signed(SHA1, text.as_bytes(), &alice().key))), "accepted");
    let edited = text.replacen(from, to, 1);
    assert_ne!(edited, text);
    assert_eq!(code(read(SHA1, &signed(SHA1, edited.as_bytes(), &alice().key))), expected, "{from:?} to {to:?}");
}

#[test]
fn a_body_has_each_field_once_in_its_order_and_no_other() {
    let (_, record) = twin();
    let text = payload(&record);
    let line = |key: &str| text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap().to_owned() + "\n";
    for (from, to) in [
        // Unknown.
        ("files = 2\n", "files = 2\ncolour = \"red\"\n".to_owned()),
        ("seq = 1\n", "seq = 1\nnonce = 1\n".into()),
        ("\n[release]", "\n[extra]\n\n[release]".into()),
        ("\n[[release.dependencies]]\n", "\n[release.extra]\n\n[[release.dependencies]]\n".into()),
        ("requirement = \"^1.2.0\"\n", "requirement = \"^1.2.0\"\noptional = true\n".into()),
        // Doubled.
        ("files = 2\n", "files = 2\nfiles = 2\n".into()),
        ("kind = \"release\"\n", "kind = \"release\"\nkind = \"release\"\n".into()),
        ("\n[release]\n", "\n[release]\n\n[release]\n".into()),
        // Left out.
        ("files = 2\n", String::new()),
        ("kind = \"release\"\n", String::new()),
        ("package = \"wasi:http\"\n", String::new()),
        (&line("content"), String::new()),
        // In another order.
        (&format!("size = 1234\nfiles = 2\n"), "files = 2\nsize = 1234\n".into()),
        (&format!("{}{}", line("version"), line("content")), line("content") + &line("version")),
        (
            &format!("registry = \"acme.example\"\npackage = \"wasi:http\"\n"),
            "package = \"wasi:http\"\nregistry = \"acme.example\"\n".into(),
        ),
        ("\"wasi:clocks\"", "\"wasi:jar\"".into()),
        ("\"wasi:clocks\"", "\"wasi:io\"".into()),
    ] {
        edit_refused(&record, from, &to, "not-canonical");
    }
}

#[test]
fn a_value_has_one_spelling() {
    let (_, record) = twin();
    for (from, to) in [
        ("size = 1234", "size = 01234"),
        ("size = 1234", "size = +1234"),
        ("size = 1234", "size = 1_234"),
        ("size = 1234", "size = 0x4d2"),
        ("size = 1234", "size = 1234.0"),
        ("size = 1234", "size = -1234"),
        ("size = 1234", "size = 9223372036854775808"),
        ("size = 1234", "size = \"1234\""),
        ("size = 1234", "size  = 1234"),
        ("size = 1234", "size = 1234 "),
        ("size = 1234", " size = 1234"),
        ("size = 1234", "size\t= 1234"),
        ("size = 1234", "size=1234"),
        ("size = 1234", "\"size\" = 1234"),
        ("size = 1234\n", "size = 1234 # bytes\n"),
        ("size = 1234\n", "size = 1234\r\n"),
        ("size = 1234\n", "size = 1234\n\n"),
        ("size = 1234\n", "# size\nsize = 1234\n"),
        ("\"line\\none \\u0007\"", "\"line\\none \\u0007 \\u0041\""),
        ("\\u0007", "\\u0007\\r"),
        ("\\u0007", "\\U00000007"),
        ("\\u0007", "\\a"),
        ("\\u0007", "\\u202e"),
        ("\\u0007", "\u{7}"),
        ("\\u0007", "\u{202e}"),
        ("\\u0007", "\u{200d}"),
        ("\\u0007", "\u{fe0f}"),
        ("\"line\\none \\u0007\"", "'line one'"),
        ("\"line\\none \\u0007\"", "\"\"\"line\none\"\"\""),
        ("\"line\\none \\u0007\"", "line"),
        ("[\"https://a.example/\", ", "[\"https://a.example/\",  "),
        ("[\"https://a.example/\", ", "[\"https://a.example/\","),
        ("\"https://b.example/\"]", "\"https://b.example/\",]"),
        ("\"https://b.example/\"]", "\"https://b.example/\" ]"),
        ("[\"https://a.example/\", \"https://b.example/\"]", "[]"),
        ("\"^1.2.0\"", "\"1.2.0\""),
        ("\"^1.2.0\"", "\"^1.2.0 \""),
        ("\"^1.2.0\"", "\"^01.2.0\""),
        ("\"^1.2.0\"", "\">1.2.0,<2.0.0\""),
        ("\n[release]\n", "\n\n[release]\n"),
        ("\n[release]\n", "[release]\n"),
        ("\n[release]\n", "\n[ release ]\n"),
        ("\n[release]\n", "\n[\"release\"]\n"),
        ("version = \"1.0.0-rc.1\"", "version = \"1.0.0-rc.1+b\""),
        ("version = \"1.0.0-rc.1\"", "version = \"1.0.0-rc.01\""),
        ("content = \"sha256:", "content = \"SHA256:"),
        ("content = \"sha256:", "content = \"sha512:"),
        ("tree = \"1111", "tree = \"111"),
        ("seq = 1", "seq = 01"),
        ("format = 1", "format = 01"),
        ("format = 1", "format = 0"),
        ("kind = \"release\"", "kind = \"publish\""),
        ("kind = \"release\"", "kind = \"checkpoint\""),
    ] {
        edit_refused(&record, from, to, "not-canonical");
    }
}

#[test]
fn a_commit_ends_where_its_record_ends() {
    let (_, record) = twin();
    let text = payload(&record);
    for wrong in
        [text.clone() + "\n", text.clone() + " ", text[..text.len() - 1].into(), text.clone() + "\r\n", text.clone() + "\0"]
    {
        assert_eq!(code(read(SHA1, &signed(SHA1, wrong.as_bytes(), &alice().key))), "not-canonical");
    }
    for cut in [0, 10, 60, 200, text.len() / 2] {
        assert_ne!(code(read(SHA1, &text.as_bytes()[..cut])), "accepted");
    }
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(code(read(SHA1, crlf.as_bytes())), "not-canonical");
    let not_utf8 = [&text.as_bytes()[..text.len() - 2], b"\xff\"\n"].concat();
    assert_eq!(code(read(SHA1, &signed(SHA1, &not_utf8, &alice().key))), "not-canonical");
}

#[test]
fn the_first_line_says_what_the_body_says() {
    let (_, record) = twin();
    for (from, to) in [
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\nrelease wasi:http 1.0.0\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\nyank wasi:http 1.0.0-rc.1\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\nrelease wasi:io 1.0.0-rc.1\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\nrelease wasi:http 1.0.0-rc.1 \n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\nrelease wasi:http 1.0.0-rc.1\nand more\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n", "\n\n\nrelease wasi:http 1.0.0-rc.1\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n\n", "\n\nrelease wasi:http 1.0.0-rc.1\n"),
        ("\n\nrelease wasi:http 1.0.0-rc.1\n\n", "\n\n"),
    ] {
        edit_refused(&record, from, to, "not-canonical");
    }
}

#[test]
fn the_header_names_who_and_which_log_and_the_body_the_same_log() {
    let (_, record) = twin();
    let fingerprint = alice().key.public_key().fingerprint().to_string();
    let bobs = bob().key.public_key().fingerprint().to_string();
    let time = record.draft().time.unix();
    let author = format!("author alice <{fingerprint}> {time} +0000");
    let committer = format!("committer quipu <wasi:http@acme.example> {time} +0000");
    for (from, to) in [
        (&author, author.replace(&fingerprint, &bobs)),
        (&author, author.replace("alice", "Alice")),
        (&author, author.replace("alice", "alice b")),
        (&author, author.replace("alice ", "")),
        (&author, author.replace("alice", "")),
        (&author, author.replace("+0000", "+0100")),
        (&author, author.replace("+0000", "-0000")),
        (&author, author.replace(&time.to_string(), &(time + 1).to_string())),
        (&author, author.replace(&time.to_string(), &format!("0{time}"))),
        (&author, author.replace(&fingerprint, &fingerprint.replace("SHA256:", "MD5:"))),
        (&author, author.replace(&fingerprint, "alice@example.com")),
        (&author, author.replace("> ", ">  ")),
        (&committer, committer.replace("quipu", "alice")),
        (&committer, committer.replace("wasi:http", "wasi:io")),
        (&committer, committer.replace("acme", "evil")),
        (&committer, committer.replace("wasi:http@", "wasi:http+decisions@")),
        (&committer, committer.replace("wasi:http@acme.example", "wasi:http")),
        (&committer, committer.replace("wasi:http@acme.example", "operators@acme.example")),
        (&committer, committer.replace(&time.to_string(), &(time - 1).to_string())),
        (&committer, format!("{committer} ")),
        (&format!("{author}\n{committer}"), format!("{committer}\n{author}")),
    ] {
        edit_refused(&record, from, &to, "not-canonical");
    }
    for (from, to) in
        [("registry = \"acme.example\"", "registry = \"evil.example\""), ("package = \"wasi:http\"", "package = \"wasi:io\"")]
    {
        edit_refused(&record, from, to, "not-canonical");
    }
    // A time beyond the year 9999 is none, and one before 1970 neither.
    let late = payload(&record).replace(&time.to_string(), "253402300800");
    assert_eq!(code(read(SHA1, &signed(SHA1, late.as_bytes(), &alice().key))), "not-canonical");
    let last = payload(&record).replace(&time.to_string(), "253402300799");
    assert_eq!(code(read(SHA1, &signed(SHA1, last.as_bytes(), &alice().key))), "accepted");
}

#[test]
fn the_tree_is_the_empty_one_but_in_a_checkpoint() {
    let (_, record) = twin();
    let empty = SHA1.empty_tree().to_string();
    edit_refused(&record, &empty, &"1".repeat(40), "not-canonical");
    edit_refused(&record, &empty, &quipu::model::digest::ObjectFormat::Sha256.empty_tree().to_string(), "not-canonical");
    edit_refused(&record, &empty, &empty.to_uppercase(), "not-canonical");
}

#[test]
fn a_record_has_one_parent_and_a_place_that_fits_its_links() {
    let (log, record) = twin();
    let parent = format!("parent {}\n", log.head.git_id());
    edit_refused(&record, &parent, &format!("{parent}{parent}"), "broken-chain");
    edit_refused(&record, &parent, &format!("{parent}parent {}\n", "2".repeat(40)), "broken-chain");
    edit_refused(&record, "seq = 1", "seq = 0", "broken-chain");
    let text = payload(&record);
    let prev = text.lines().find(|line| line.starts_with("prev")).unwrap().to_owned() + "\n";
    let id = text.lines().find(|line| line.starts_with("log")).unwrap().to_owned() + "\n";
    edit_refused(&record, &prev, "", "broken-chain");
    edit_refused(&record, &id, "", "broken-chain");
    edit_refused(&record, &format!("{id}seq = 1\n{prev}"), "seq = 1\n", "broken-chain");
    // The second record stands on the first, whose digest the log is named by.
    edit_refused(&record, &prev, &format!("prev = \"{}\"\n", digest("another")), "broken-chain");
}

#[test]
fn a_record_is_signed_and_by_nothing_else_than_its_own_header() {
    let (_, record) = twin();
    let text = payload(&record);
    let signature = alice().key.sign(text.as_bytes()).unwrap();
    let good = with_signature(SHA1, text.as_bytes(), &signature);
    assert_eq!(good, record.bytes());
    assert_eq!(code(read(SHA1, text.as_bytes())), "unsigned");
    // The header of the other object format, alone.
    let other = with_header(text.as_bytes(), &format!("gpgsig-sha256 {}", signature.to_header()));
    assert_eq!(code(read(SHA1, &other)), "unsigned");
    let header = format!("gpgsig {}", signature.to_header());
    for extra in [
        "mergetag object 1\n type commit\n tag x\n \n x",
        "encoding ISO-8859-1",
        "encoding UTF-8",
        "HG:extra x",
        "gpgsig-sha256 x",
        "gpgsigx y",
        &header,
        &header.replacen("gpgsig", "gpgsig-sha256", 1),
        "x y",
        "author x <y> 1 +0000",
    ] {
        // After the signature, outside of what it covers; git would not say a word about those that begin with gpgsig.
        assert_eq!(code(read(SHA1, &with_header(&good, extra))), "not-canonical", "{extra}");
        // Before the signature, and covered by it.
        let payload = with_header(text.as_bytes(), extra);
        if !extra.starts_with("gpgsig ") {
            assert_eq!(code(read(SHA1, &signed(SHA1, &payload, &alice().key))), "not-canonical", "{extra}");
        }
        // Before the signature, and not covered.
        let payload = with_header(text.as_bytes(), extra);
        assert_ne!(code(read(SHA1, &with_header(&payload, &header))), "accepted", "{extra}");
    }
    // The signature in another place among the headers.
    let author = text.find("author ").unwrap();
    let moved = format!("{}{header}\n{}", &text[..author], &text[author..]);
    assert_eq!(code(read(SHA1, moved.as_bytes())), "not-canonical");
}

#[test]
fn git_calls_some_of_these_good_and_we_do_not() {
    let world = world(SHA1);
    let repository = repository(SHA1, &world);
    let (_, record) = twin();
    let good = record.bytes();
    for sibling in [with_header(good, "gpgsigx y"), with_header(good, "gpgsig-sha256 x")] {
        let id = write_commit(repository.path(), &sibling);
        let (good, said) = try_git(repository.path(), &["verify-commit", &id], b"");
        assert!(good && said.contains("Good \"git\" signature for alice"), "{said}");
        assert_eq!(code(read(SHA1, &sibling)), "not-canonical");
    }
}

#[test]
fn an_armour_has_one_form() {
    let (_, record) = twin();
    let text = payload(&record);
    let header = alice().key.sign(text.as_bytes()).unwrap().to_header();
    let with = |armour: &str| with_header(text.as_bytes(), &format!("gpgsig {armour}"));
    assert_eq!(with(&header), record.bytes());
    let base64: String = header.lines().skip(1).take(4).map(str::trim).collect();
    let wrapped = |columns: usize| {
        let lines: Vec<&str> = base64.as_bytes().chunks(columns).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN SSH SIGNATURE-----\n {}\n -----END SSH SIGNATURE-----", lines.join("\n "))
    };
    assert_eq!(wrapped(70), header);
    for wrong in [
        wrapped(64),
        wrapped(76),
        wrapped(1000),
        format!("{header}\n more"),
        format!("{header}\n "),
        format!("{header} "),
        header.replace("SSH", "PGP"),
        header.replacen("\n ", "\n  ", 1),
        header.replacen("\n ", "\n \n ", 1),
        header.replacen("\n ", "\r\n ", 1),
        header.replace('=', ""),
        format!(" {header}"),
    ] {
        assert_eq!(code(read(SHA1, &with(&wrong))), "bad-signature", "{wrong:?}");
    }
}

#[test]
fn a_signature_is_for_git_by_sha512_and_by_an_ed25519_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let key = key_file(path, "alice");
    let (_, record) = twin();
    let text = payload(&record);
    let sign = |arguments: &[&str]| {
        let armour = ssh_keygen(path, &[&["-Y", "sign"], arguments].concat(), text.as_bytes());
        with_header(text.as_bytes(), &format!("gpgsig {}", armour.trim_end().replace('\n', "\n ")))
    };
    assert_eq!(sign(&["-n", "git", "-f", &key]), record.bytes());
    assert_eq!(code(read(SHA1, &sign(&["-n", "file", "-f", &key]))), "bad-signature");
    assert_eq!(code(read(SHA1, &sign(&["-n", "git", "-O", "hashalg=sha256", "-f", &key]))), "bad-signature");
    for kind in ["rsa", "ecdsa"] {
        ssh_keygen(path, &["-q", "-t", kind, "-N", "", "-C", "", "-f", kind], b"");
        assert_eq!(code(read(SHA1, &sign(&["-n", "git", "-f", kind]))), "bad-signature", "{kind}");
    }
    // A certificate for Alice's key.
    ssh_keygen(path, &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "authority"], b"");
    ssh_keygen(path, &["-q", "-s", "authority", "-I", "alice", "-n", "alice", "alice.pub"], b"");
    let certified = sign(&["-n", "git", "-f", "alice-cert.pub"]);
    assert!(certified.len() > record.bytes().len());
    assert_eq!(code(read(SHA1, &certified)), "bad-signature");
}

#[test]
fn another_signature_over_the_same_bytes_is_none() {
    let (_, record) = twin();
    let text = payload(&record);
    let good = alice().key.sign(text.as_bytes()).unwrap();
    let with = |signature: &SshSig| read(SHA1, &with_signature(SHA1, text.as_bytes(), signature));
    assert_eq!(code(with(&good)), "accepted");
    // S + L satisfies the equation as well as S does.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleable = good;
    let mut carry = 0;
    for (byte, l) in malleable.signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(l) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    assert_eq!(code(with(&malleable)), "bad-signature");
    // Somebody else's signature over the same bytes, and Alice's over others.
    assert_eq!(code(with(&SshSig { signature: bob().key.sign(text.as_bytes()).unwrap().signature, ..good })), "bad-signature");
    assert_eq!(code(with(&alice().key.sign(b"other").unwrap())), "bad-signature");
    // Bob's own: it holds, but the author's fingerprint is Alice's.
    assert_eq!(code(with(&bob().key.sign(text.as_bytes()).unwrap())), "not-canonical");
    // No signature at all: R and S are nought.
    assert_eq!(code(with(&SshSig { signature: [0; 64], ..good })), "bad-signature");
}

/// Points of small order, and encodings that are not the one of their point.
const BAD_KEYS: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    {
        let mut p = [0xff; 32];
        p[0] = 0xed;
        p[31] = 0x7f;
        p
    },
    {
        // y = 3 + p, of full order.
        let mut unreduced = [0xff; 32];
        unreduced[0] = 0xf0;
        unreduced[31] = 0x7f;
        unreduced
    },
];

#[test]
fn a_bad_key_signs_nothing_and_is_let_in_nowhere() {
    let (log, record) = twin();
    let text = payload(&record);
    let allow = payload(&log.sign(&alice(), PackageEntry::Allow(bob().grant(&[P::Auth]))));
    let init = payload(&log.head);
    let blob = |key: &[u8]| Base64::encode_string(&[b"\0\0\0\x0bssh-ed25519\0\0\0\x20", key].concat());
    let bobs = blob(bob().key.public_key().as_bytes());
    for bad in BAD_KEYS {
        let signature = SshSig { key: bad, signature: alice().key.sign(text.as_bytes()).unwrap().signature };
        assert_eq!(code(read(SHA1, &with_signature(SHA1, text.as_bytes(), &signature))), "bad-key");
        for text in [&allow, &init] {
            assert_eq!(code(read(SHA1, &signed(SHA1, text.as_bytes(), &alice().key))), "accepted");
            let edited = text.replace(&bobs, &blob(&bad));
            assert_ne!(edited, *text);
            assert_eq!(code(read(SHA1, &signed(SHA1, edited.as_bytes(), &alice().key))), "bad-key");
        }
    }
    // Keys of another type, and ones that are cut short.
    let ours = format!("ssh-ed25519 {bobs}");
    for other in [
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7".to_owned(),
        format!("ssh-ed25519 {}", &bobs[..60]),
        format!("{ours} bob"),
        format!("{ours}\\n"),
        bobs.clone(),
    ] {
        let edited = allow.replace(&ours, &other);
        assert_ne!(edited, allow);
        assert_eq!(code(read(SHA1, &signed(SHA1, edited.as_bytes(), &alice().key))), "bad-key", "{other}");
    }
}

#[test]
fn a_record_says_nothing_that_its_kind_forbids() {
    let log = Growing::new(&[P::Auth]);
    let allow = log.sign(&alice(), PackageEntry::Allow(bob().grant(&[P::Auth, P::Release])));
    let key = format!("key = \"{}\"\n", bob().key.public_key());
    for (from, to, expected) in [
        ("[\"auth\", \"release\"]", "[\"release\", \"auth\"]", "not-canonical"),
        ("[\"auth\", \"release\"]", "[\"auth\", \"auth\"]", "not-canonical"),
        ("[\"auth\", \"release\"]", "[\"auth\", \"checkpoint\"]", "not-canonical"),
        ("[\"auth\", \"release\"]", "[]", "bad-record"),
        ("[\"auth\", \"release\"]\n", "[\"auth\", \"release\"]\nnamespaces = [\"wasi\"]\n", "not-canonical"),
        (&key, "", "not-canonical"),
        ("name = \"bob\"", "name = \"Bob\"", "not-canonical"),
    ] {
        edit_refused(&allow, from, to, expected);
    }
    let init = &log.head;
    let bobs = format!("\n[[init.keys]]\nname = \"bob\"\n{key}privileges = [\"auth\"]\n");
    edit_refused(init, &bobs, &bobs.repeat(2), "bad-record");
    edit_refused(init, "name = \"bob\"", "name = \"alice\"", "bad-record");
    let alices = format!("key = \"{}\"\n", alice().key.public_key());
    edit_refused(init, &key, &alices, "bad-record");
    let nobody = payload(init).replace("\"auth\", ", "").replace(&bobs, "");
    assert_eq!(code(read(SHA1, &signed(SHA1, nobody.as_bytes(), &alice().key))), "bad-record");

    let (_, release) = twin();
    for (from, to) in [("files = 2", "files = 0"), ("\"line\\none \\u0007\"", "\"\""), ("\"https://b.example/\"", "\"\"")] {
        edit_refused(&release, from, to, "bad-record");
    }
    let long = format!("\"{}\"", "x".repeat(4097));
    edit_refused(&release, "\"line\\none \\u0007\"", &long, "bad-record");
    edit_refused(&release, "\"wasi:io\"", "\"other.example/wasi:io\"", "bad-record");
    edit_refused(
        &release,
        "requirement = \"^1.2.0\"\n",
        &format!("requirement = \"^1.2.0\"\nregistry-id = \"{}\"\n", any_registry()),
        "bad-record",
    );
    let upgrade = log.sign(&alice(), PackageEntry::Upgrade(2));
    let text = payload(&upgrade)
        .replace("upgrade to format 2", "upgrade to format 1")
        .replace("[upgrade]\nformat = 2", "[upgrade]\nformat = 1");
    assert_eq!(code(read(SHA1, &signed(SHA1, text.as_bytes(), &alice().key))), "bad-record");
}

#[test]
fn a_record_is_not_larger_than_256_kib() {
    let log = Growing::new(&[]);
    let with = |links: usize| {
        let mut entry = release("1.0.0");
        entry.links = vec!["x".repeat(4000); links];
        log.draft(&alice(), PackageEntry::Release(Box::new(entry))).sign(&alice().key)
    };
    assert_eq!(code(with(65)), "accepted");
    assert_eq!(with(66).unwrap_err().code(), ErrorCode::Limit);
    let many = |links: usize| {
        let mut entry = release("1.0.0");
        entry.links = vec!["x".into(); links];
        log.draft(&alice(), PackageEntry::Release(Box::new(entry))).sign(&alice().key)
    };
    assert_eq!(code(many(1024)), "accepted");
    assert_eq!(code(many(1025)), "bad-record");
}

#[test]
fn git_can_write_a_record_and_a_look_alike_by_it_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let world = world(SHA1);
    git(path, &["init", "-q", "."], b"");
    let (alices, mallorys) = (key_file(path, "alice"), key_file(path, "mallory"));
    git(path, &["hash-object", "-w", "--stdin", "-t", "tree"], b"");
    let records = world.of_log("package");
    for record in &records {
        write_commit(path, record.bytes());
    }
    let record = records[3];
    let (_, message) = std::str::from_utf8(record.bytes()).unwrap().split_once("\n\n").unwrap();
    let fingerprint = alice().key.public_key().fingerprint().to_string();
    let time = record.draft().time.unix();
    let committer = ("quipu", "wasi:http@acme.example");
    let parent = records[2].git_id().to_string();
    let by = |key: &str, author: (&str, &str), committer: (&str, &str)| {
        git(path, &["reset", "-q", "--hard", &parent], b"");
        commit(path, key, author, committer, time, message)
    };
    // The same words by the same key: the same bytes.
    assert_eq!(by(&alices, ("alice", &fingerprint), committer), record.bytes());
    // Mallory's hand under Alice's name, and what git writes where nothing is feigned.
    let theirs = mallory().key.public_key().fingerprint().to_string();
    for (author, committer) in [
        (("alice", fingerprint.as_str()), committer),
        (("Mallory", "mallory@example.com"), ("Mallory", "mallory@example.com")),
        (("alice", &fingerprint), ("Mallory", "mallory@example.com")),
    ] {
        let forged = by(&mallorys, author, committer);
        assert_eq!(code(read(SHA1, &forged)), "not-canonical");
    }
    // Under her own name it is a record, and no log that does not know her takes it.
    let own = read(SHA1, &by(&mallorys, ("mallory", &theirs), committer)).unwrap();
    let log =
        records[1..3].iter().fold(quipu::log::package::PackageLog::start(records[0]).unwrap(), |log, r| log.append(r).unwrap());
    assert_eq!(code(log.clone().append(&own)), "unauthorized");
    assert_eq!(code(log.append(record)), "accepted");

    // A release that was picked from one branch onto another, signed anew by whoever picks.
    git(path, &["reset", "-q", "--hard", &parent], b"");
    let pick = [
        "-c",
        "gpg.format=ssh",
        "-c",
        &format!("user.signingkey={mallorys}"),
        "-c",
        "user.name=quipu",
        "-c",
        "user.email=wasi:http@acme.example",
        "cherry-pick",
        "-S",
        "--allow-empty",
        "--keep-redundant-commits",
        &records[7].git_id().to_string(),
    ]
    .map(String::from);
    git(path, &pick.iter().map(String::as_str).collect::<Vec<_>>(), b"");
    let picked = head(path);
    let said = String::from_utf8(picked.clone()).unwrap();
    assert!(
        said.contains("release wasi:http 1.0.0\n") && said.contains("gpgsig -----BEGIN SSH") && said.contains(&parent),
        "{said}"
    );
    assert_eq!(code(read(SHA1, &picked)), "not-canonical");
}
