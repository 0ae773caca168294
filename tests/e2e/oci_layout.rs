//! An OCI layout of a `docker save` archive, for tools that read only that. Its layers are gzip without compression: to
//! compress takes minutes in an emulated host, and changes nothing of what is in them.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The tag of the image in the layout.
pub(crate) const TAG: &str = "image";

/// Writes the archive's one image to the directory `to`, which is made.
pub(crate) fn write(archive: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs/sha256")).unwrap();
    let manifest: Value = serde_json::from_slice(&member(archive, "manifest.json")).unwrap();
    let path = |value: &Value| value.as_str().unwrap().to_owned();
    let config =
        blob(to, "application/vnd.oci.image.config.v1+json", &member(archive, &path(&manifest[0]["Config"])));
    let layers: Vec<Value> = manifest[0]["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
            gzip.write_all(&member(archive, &path(layer))).unwrap();
            blob(to, "application/vnd.oci.image.layer.v1.tar+gzip", &gzip.finish().unwrap())
        })
        .collect();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers });
    let mut descriptor = blob(to, kind, manifest.to_string().as_bytes());
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
    fs::write(to.join("index.json"), index.to_string()).unwrap();
    fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn blob(to: &Path, kind: &str, data: &[u8]) -> Value {
    let digest: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(to.join("blobs/sha256").join(&digest), data).unwrap();
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": data.len() })
}

fn member(archive: &Path, path: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(fs::File::open(archive).unwrap());
    let mut entries = archive.entries_with_seek().unwrap().map(Result::unwrap);
    let mut found = entries.find(|entry| entry.path().unwrap() == Path::new(path)).unwrap();
    let mut data = Vec::new();
    found.read_to_end(&mut data).unwrap();
    data
}
