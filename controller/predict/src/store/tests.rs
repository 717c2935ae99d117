//! Promotion, rollback and what must not be promoted.

use super::*;
use crate::file_hash;

const ONNX: &[u8] = include_bytes!("../../../models/rack-power.onnx");
const MANIFEST: &[u8] = include_bytes!("../../../models/rack-power.manifest.json");
const PROBES: &[u8] = include_bytes!("../../../models/rack-power.probes.json");

/// A run folder whose model differs from the shipped one by its producer's name only.
fn run(dir: &Path, name: &str) -> PathBuf {
    let run = dir.join(name);
    fs::create_dir(&run).unwrap();
    // Field 2 of ONNX's ModelProto is a string: appended once more, it replaces the first.
    let onnx = [ONNX, &[0x12, name.len() as u8], name.as_bytes()].concat();
    let mut manifest: serde_json::Value = serde_json::from_slice(MANIFEST).unwrap();
    manifest["onnx_sha256"] = file_hash(&onnx).into();
    fs::write(run.join("model.onnx"), onnx).unwrap();
    fs::write(run.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(run.join("probes.json"), PROBES).unwrap();
    run
}

#[test]
fn a_promoted_model_is_in_use_and_the_one_before_can_be_gone_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("store"));
    assert_eq!(store.pointer().unwrap(), None);
    let names: Vec<String> = ["a", "b", "c", "d"].iter().map(|n| store.promote(&run(dir.path(), n)).unwrap()).collect();
    let pointer = store.pointer().unwrap().unwrap();
    assert_eq!(
        pointer,
        Pointer { champion: Some(names[3].clone()), previous: vec![names[2].clone(), names[1].clone()] }
    );
    assert!(!store.folder(&names[0]).exists(), "old models take no room for ever");
    let used = load(&store.dir).unwrap();
    assert!(names[3].ends_with(&used.manifest().onnx_sha256[..12]));
    assert_eq!(store.step_back().unwrap().as_ref(), Some(&names[2]));
    assert!(!store.folder(&names[3]).exists());
    assert_eq!(store.promote(&dir.path().join("c")).unwrap(), names[2], "promoted again is promoted once");
    assert_eq!(store.step_back().unwrap().as_ref(), Some(&names[1]));
    assert_eq!(store.step_back().unwrap(), None);
    assert!(load(&store.dir).is_err(), "an empty store has no model");
}

#[test]
fn whatever_a_dying_machine_leaves_behind_either_the_old_or_the_new_model_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("store"));
    let first = store.promote(&run(dir.path(), "a")).unwrap();
    let second = run(dir.path(), "b");
    // Half a copy, a half-written pointer, and a finished copy that nothing points at yet.
    let half = store.dir.join(".model-000000000000.new");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("model.onnx"), &ONNX[..100]).unwrap();
    fs::write(store.dir.join(".champion.json.new"), "{\"champi").unwrap();
    fs::create_dir(store.folder("model-111111111111")).unwrap();
    assert!(load(&store.dir).is_ok());
    assert_eq!(store.pointer().unwrap().unwrap().champion, Some(first));
    let name = store.promote(&second).unwrap();
    assert_eq!(store.pointer().unwrap().unwrap().champion, Some(name));
    assert!(!half.exists() && !store.folder("model-111111111111").exists());
}

#[test]
fn what_does_not_answer_as_its_trainer_did_is_not_promoted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(&dir.path().join("store"));
    let good = store.promote(&run(dir.path(), "a")).unwrap();
    let other = run(dir.path(), "b");
    let mut probes: Probes = serde_json::from_slice(PROBES).unwrap();
    probes.windows[0].answer[3] += 1e-3;
    fs::write(other.join("probes.json"), serde_json::to_string(&probes).unwrap()).unwrap();
    let why = store.promote(&other).unwrap_err().to_string();
    assert!(why.contains("1.0e-3 nameplates"), "{why}");
    fs::write(other.join("probes.json"), "{\"windows\": []}").unwrap();
    assert!(matches!(store.promote(&other), Err(StoreError::Probes { .. })));
    fs::remove_file(other.join("probes.json")).unwrap();
    assert!(matches!(store.promote(&other), Err(StoreError::Io { .. })));
    let altered = run(dir.path(), "c");
    fs::write(altered.join("model.onnx"), ONNX).unwrap();
    assert!(matches!(store.promote(&altered), Err(StoreError::Refused { why: Refused::File, .. })));
    fs::write(altered.join("second.onnx"), ONNX).unwrap();
    assert!(matches!(store.promote(&altered), Err(StoreError::Models { found: 2, .. })));
    assert_eq!(store.pointer().unwrap().unwrap().champion, Some(good));
}

#[test]
fn a_pointer_cannot_lead_out_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["../run", "/etc", "", ".hidden"] {
        fs::write(dir.path().join(POINTER), serde_json::json!({"champion": name, "previous": []}).to_string()).unwrap();
        assert!(matches!(load(dir.path()), Err(StoreError::Pointer { .. })), "{name}");
    }
}
