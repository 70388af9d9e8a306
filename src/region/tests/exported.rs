//! Exports: when they are stopped, and those of what was set aside at a holder.

use super::*;

#[tokio::test]
async fn an_export_that_is_stopped_before_it_reads_writes_nothing() {
    let pair = Pair::with_web().await;
    pair.sync("vm.web").await.unwrap();
    pair.west.inner.close().await;
    let (web, into) = (key("vm.web"), pair.path("out"));
    {
        let exporting = pair.west.export(&web, &PointSelector::Newest, &into);
        tokio::pin!(exporting);
        tokio::select! {
            biased;
            _ = &mut exporting => panic!("the region is opened elsewhere meanwhile"),
            () = std::future::ready(()) => {}
        }
        pair.west.interrupt();
        let error = exporting.await.unwrap_err();
        assert!(error.to_string().contains("interrupted"), "{error}");
    }
    assert!(!into.exists());
    pair.west.export(&web, &PointSelector::Newest, &into).await.unwrap();
}
