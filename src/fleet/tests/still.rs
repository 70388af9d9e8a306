//! What may still be held is told by every command that looks.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_may_still_be_held_is_told_first_everywhere() {
    let place = Place::new();
    place.apply().await;
    let well = place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
    assert!(well.metrics.unwrap().contains("debvisor_region_still_held 0.0\n"));
    assert!(place.fleet().status().await.unwrap().troubles.is_empty());

    fs::create_dir_all(place.path("east/.debvisor/held")).unwrap();
    let mark = place.path("east/.debvisor/held/vm.web.json");
    let text = r#"{"enter":[],"leave":["/bin/false"],"variables":{},"entering":"1s","longest":null,"mark":null}"#;
    fs::write(&mark, text).unwrap();
    fs::remove_dir_all(place.path("west")).unwrap();
    let status = place.fleet().status().await.unwrap();
    let kinds: Vec<TroubleKind> = status.troubles.iter().map(|trouble| trouble.kind).take(2).collect();
    assert_eq!(kinds, [TroubleKind::StillHeld, TroubleKind::Unobserved]);
    let first = &status.troubles[0];
    assert_eq!((first.address.to_string(), first.region_id.as_ref().unwrap().as_str()), ("vm.web".into(), "east"));
    assert!(first.reason.starts_with("may still be frozen or snapshotted, since 20"), "{}", first.reason);
    let help = format!("the next copy tries again; by hand: `/bin/false`, then remove {}", mark.display());
    assert_eq!(first.help.as_deref(), Some(help.as_str()));

    let warnings = place.plan().await.warnings;
    let told =
        warnings.iter().find(|warning| warning.message.starts_with("may still be frozen or snapshotted at east"));
    assert_eq!(told.unwrap().address.as_ref().unwrap().to_string(), "vm.web", "{warnings:?}");
    let round = place.fleet().reconcile(&ReconcileOptions::default(), &quiet()).await.unwrap();
    assert!(round.metrics.unwrap().contains("debvisor_region_still_held 1.0\n"));
}
