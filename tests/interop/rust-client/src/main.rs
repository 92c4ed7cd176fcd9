//! The `zookeeper-client` crate against the server that the argument names.

use std::time::Duration;

use zookeeper_client as zk;
use zookeeper_client::{Acls, AddWatchMode, CreateMode, CreateOptions, EventType};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: &CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());

#[tokio::main]
async fn main() {
    let address = std::env::args()
        .nth(1)
        .expect("the server's address is the argument");
    let all = async {
        let root = fresh_root(&address).await;
        operations(&root).await;
        println!("operations: ok");
        watches(&root).await;
        println!("watches: ok");
        multis(&root).await;
        println!("multis: ok");
        permissions(&root).await;
        println!("permissions: ok");
        locks(&root).await;
        println!("locks: ok");
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("all ends within a minute");
}

async fn fresh_root(address: &str) -> String {
    let client = zk::Client::connect(address).await.expect("connects");
    let path = format!("/rust-{}", std::process::id());
    client
        .create(&path, b"", PERSISTENT)
        .await
        .expect("creates its root");
    format!("{address}{path}")
}

async fn operations(address: &str) {
    let client = zk::Client::connect(address).await.expect("connects");
    let (stat, _) = client.create("/a", b"one", PERSISTENT).await.unwrap();
    assert_eq!(
        (stat.version, stat.data_length, stat.num_children),
        (0, 3, 0)
    );
    assert_eq!(
        client.create("/a", b"", PERSISTENT).await.unwrap_err(),
        zk::Error::NodeExists
    );
    let (data, read) = client.get_data("/a").await.unwrap();
    assert_eq!((data.as_slice(), read), (&b"one"[..], stat));
    let stat = client.set_data("/a", b"two", Some(0)).await.unwrap();
    assert_eq!(stat.version, 1);
    let stale = client.set_data("/a", b"", Some(0)).await.unwrap_err();
    assert_eq!(stale, zk::Error::BadVersion);
    let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
    for expected in 0..3 {
        let (_, sequence) = client.create("/a/s-", b"", &sequential).await.unwrap();
        assert_eq!(sequence.into_i64(), expected);
    }
    let (children, stat) = client.get_children("/a").await.unwrap();
    assert_eq!((children.len(), stat.num_children), (3, 3));
    assert_eq!(client.count_descendants_number("/").await.unwrap(), 4);
    assert_eq!(
        client.delete("/a", None).await.unwrap_err(),
        zk::Error::NotEmpty
    );
    client.create("/e", b"", EPHEMERAL).await.unwrap();
    assert_eq!(client.list_ephemerals("/").await.unwrap(), ["/e"]);
    let container = CreateMode::Container.with_acls(Acls::anyone_all());
    client.create("/container", b"", &container).await.unwrap();
    let ttl = PERSISTENT.clone().with_ttl(Duration::from_secs(3600));
    client.create("/ttl", b"", &ttl).await.unwrap();
    client.sync("/").await.unwrap();
    assert_eq!(client.check_stat("/none").await.unwrap(), None);
}

async fn watches(address: &str) {
    let client = zk::Client::connect(address).await.expect("connects");
    let other = zk::Client::connect(address).await.expect("connects");
    let (_, created) = client.check_and_watch_stat("/w").await.unwrap();
    let (_, _, children) = client.get_and_watch_children("/").await.unwrap();
    let mut recursive = client
        .watch("/w", AddWatchMode::PersistentRecursive)
        .await
        .unwrap();
    let (stat, _) = other.create("/w", b"", PERSISTENT).await.unwrap();
    let event = created.changed().await;
    assert_eq!(
        (event.event_type, event.path.as_str()),
        (EventType::NodeCreated, "/w")
    );
    assert_eq!(event.zxid, stat.czxid);
    assert_eq!(
        children.changed().await.event_type,
        EventType::NodeChildrenChanged
    );
    let (_, _, changed) = client.get_and_watch_data("/w").await.unwrap();
    other.set_data("/w", b"1", None).await.unwrap();
    assert_eq!(
        changed.changed().await.event_type,
        EventType::NodeDataChanged
    );
    other.create("/w/c", b"", PERSISTENT).await.unwrap();
    other.delete("/w/c", None).await.unwrap();
    for (kind, path) in [
        (EventType::NodeCreated, "/w"),
        (EventType::NodeDataChanged, "/w"),
        (EventType::NodeCreated, "/w/c"),
        (EventType::NodeDeleted, "/w/c"),
    ] {
        let event = recursive.changed().await;
        assert_eq!((event.event_type, event.path.as_str()), (kind, path));
    }
}

async fn multis(address: &str) {
    let client = zk::Client::connect(address).await.expect("connects");
    let mut writer = client.new_multi_writer();
    writer.add_create("/m", b"0", PERSISTENT).unwrap();
    writer.add_set_data("/m", b"1", Some(0)).unwrap();
    writer.add_check_version("/m", 1).unwrap();
    writer.add_create("/m/c", b"", PERSISTENT).unwrap();
    writer.add_delete("/m/c", Some(0)).unwrap();
    assert_eq!(writer.commit().await.unwrap().len(), 5);
    let mut writer = client.new_multi_writer();
    writer.add_create("/n", b"", PERSISTENT).unwrap();
    writer.add_check_version("/m", 9).unwrap();
    let failed = writer.commit().await.unwrap_err();
    assert_eq!(zk::Error::from(failed), zk::Error::BadVersion);
    let mut reader = client.new_multi_reader();
    reader.add_get_data("/m").unwrap();
    reader.add_get_children("/m").unwrap();
    reader.add_get_data("/n").unwrap();
    let results = reader.commit().await.unwrap();
    assert!(matches!(&results[0], zk::MultiReadResult::Data { data, .. } if data == b"1"));
    assert!(
        matches!(&results[1], zk::MultiReadResult::Children { children } if children.is_empty())
    );
    assert!(matches!(
        &results[2],
        zk::MultiReadResult::Error {
            err: zk::Error::NoNode
        }
    ));
}

async fn permissions(address: &str) {
    let ann = zk::Client::connect(address).await.expect("connects");
    let nobody = zk::Client::connect(address).await.expect("connects");
    ann.auth("digest", b"ann:secret").await.unwrap();
    let private = CreateMode::Persistent.with_acls(Acls::creator_all());
    ann.create("/p", b"s", &private).await.unwrap();
    assert_eq!(nobody.get_data("/p").await.unwrap_err(), zk::Error::NoAuth);
    let refused = nobody.create("/q", b"", &private).await.unwrap_err();
    assert_eq!(refused, zk::Error::InvalidAcl);
    let (acl, stat) = ann.get_acl("/p").await.unwrap();
    assert_eq!((acl.len(), acl[0].scheme()), (1, "digest"));
    ann.set_acl(
        "/p",
        &[zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone())],
        Some(stat.aversion),
    )
    .await
    .unwrap();
    nobody.get_data("/p").await.unwrap();
    assert_eq!(
        ann.set_data("/p", b"", None).await.unwrap_err(),
        zk::Error::NoAuth
    );
    assert!(
        ann.list_auth_users()
            .await
            .unwrap()
            .iter()
            .any(|user| user.user() == "ann")
    );
}

async fn locks(address: &str) {
    let mut contenders = Vec::new();
    for _ in 0..5 {
        let client = zk::Client::connect(address).await.expect("connects");
        contenders.push(tokio::spawn(async move {
            let prefix = zk::LockPrefix::new_curator("/lock", "lock-").unwrap();
            let options = zk::LockOptions::new(Acls::anyone_all())
                .with_ancestor_options(PERSISTENT.clone())
                .unwrap();
            let lock = client.lock(prefix, b"", options).await.unwrap();
            let (data, stat) = match lock.client().get_data("/held").await {
                Ok(found) => found,
                Err(_) => {
                    lock.create("/held", b"0", PERSISTENT).await.unwrap();
                    lock.client().get_data("/held").await.unwrap()
                }
            };
            let count: u32 = String::from_utf8(data).unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            let next = (count + 1).to_string();
            lock.set_data("/held", next.as_bytes(), Some(stat.version))
                .await
                .unwrap();
        }));
    }
    for contender in contenders {
        contender.await.unwrap();
    }
    let client = zk::Client::connect(address).await.expect("connects");
    assert_eq!(client.get_data("/held").await.unwrap().0, b"5");
}
