//! What is signed in a registry, taken apart so that nothing is left to do but check it.

use ed25519_dalek::{Signature, VerifyingKey};
use quipu::git::store::Store;
use quipu::model::error::Result;
use quipu::model::key::KeyCache;
use quipu::model::map::Map;
use quipu::model::openssh::SecretKey;
use quipu::model::record::SignedRecord;
use quipu::model::slot::Slot;
use quipu::model::sshsig::{SIGNED_LEN, Signer as _, SshSig, signed_bytes};
use quipu::replica::chains;
use quipu::replica::standing::heads;
use rayon::prelude::*;
use std::time::Duration;
use zeroize::Zeroizing;

/// What ed25519 checks of one record.
pub(crate) struct Signed {
    key: VerifyingKey,
    bytes: [u8; SIGNED_LEN],
    signature: Signature,
}

/// Reads all that is signed in a registry.
pub(crate) fn all_signed(store: &Store) -> Result<(Vec<Signed>, usize)> {
    let (log, operators) = heads(store)?;
    let reader = store.reader();
    let newest = chains::record(&reader, log)?;
    let mut logs = vec![log, operators];
    let mut packages = 0;
    Map::at(newest.draft().tree).for_each(&reader, &mut |slot, head| {
        packages += usize::from(matches!(slot, Slot::Package(_)));
        if slot != Slot::Skip {
            logs.push(head);
        }
        Ok(())
    })?;
    let signed: Result<Vec<Vec<Signed>>> = logs
        .par_chunks(512)
        .map(|heads| {
            let (reader, mut keys) = (store.reader(), KeyCache::default());
            let mut signed = Vec::new();
            for head in heads {
                for record in chains::verify(chains::walk(&reader, *head)?, &mut keys)? {
                    signed.push(taken_apart(&record));
                }
            }
            Ok(signed)
        })
        .collect();
    Ok((signed?.into_iter().flatten().collect(), packages))
}

/// Checks them all, on all cores, and returns how long that took: the floor of an audit.
pub(crate) fn check(signed: &[Signed]) -> Duration {
    super::time(|| {
        let good = signed.par_iter().filter(|one| one.key.verify_strict(&one.bytes, &one.signature).is_ok()).count();
        assert_eq!(good, signed.len());
    })
}

/// Signs as many messages as there are records, on all cores, and returns how long that took: the floor of an import.
pub(crate) fn sign(records: u64) -> Duration {
    let key = SecretKey::from_seed(Zeroizing::new([1; 32]));
    super::time(|| {
        (0..records).into_par_iter().for_each(|number| {
            std::hint::black_box(key.sign(&number.to_le_bytes()).unwrap());
        });
    })
}

/// Takes apart one record.
pub(crate) fn taken_apart(record: &SignedRecord) -> Signed {
    let text = std::str::from_utf8(record.bytes()).unwrap();
    let (_, header) = text.split_once("\ngpgsig").unwrap();
    let (_, header) = header.split_once(' ').unwrap();
    let end = "-----END SSH SIGNATURE-----";
    let header = &header[..header.find(end).unwrap() + end.len()];
    let signature = SshSig::parse_header(header.as_bytes()).unwrap();
    let payload = record.draft().payload(&record.key().fingerprint());
    Signed {
        key: VerifyingKey::from_bytes(record.key().as_bytes()).unwrap(),
        bytes: signed_bytes(payload.as_bytes()),
        signature: Signature::from_bytes(&signature.signature),
    }
}
