import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.Transaction;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/** Apache's Java client, used broadly, against the server that the argument names. */
public class ClientTest {
    static String address;

    /** Keeps what a connection's watchers hear. */
    static class Heard implements Watcher {
        final BlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        final CountDownLatch connected = new CountDownLatch(1);

        public void process(WatchedEvent event) {
            if (event.getType() == EventType.None) {
                if (event.getState() == KeeperState.SyncConnected) {
                    connected.countDown();
                }
                return;
            }
            events.add(event);
        }

        void expect(EventType type, String path) throws Exception {
            WatchedEvent e = events.poll(10, TimeUnit.SECONDS);
            check(e != null && e.getType() == type && path.equals(e.getPath()),
                    "expected " + type + " of " + path + ", heard " + e);
        }

        void expectNothing() throws Exception {
            Thread.sleep(50);
            check(events.isEmpty(), "unexpected " + events);
        }
    }

    interface Call {
        void run() throws Exception;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void fails(Code code, Call call) throws Exception {
        try {
            call.run();
        } catch (KeeperException e) {
            check(e.code() == code, "expected " + code + ", got " + e.code());
            return;
        }
        throw new AssertionError("expected " + code);
    }

    static ZooKeeper connect(String chroot, Watcher watcher, int timeout) throws Exception {
        Heard heard = watcher instanceof Heard ? (Heard) watcher : new Heard();
        ZooKeeper zk = new ZooKeeper(address + chroot, timeout, heard);
        check(heard.connected.await(15, TimeUnit.SECONDS), "no connection");
        return zk;
    }

    static ZooKeeper connect(String chroot) throws Exception {
        return connect(chroot, null, 10000);
    }

    static String freshRoot() throws Exception {
        try (ZooKeeper zk = connect("")) {
            String root = "/java-" + Long.toHexString(System.nanoTime());
            return zk.create(root, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
    }

    static byte[] bytes(String s) {
        return s.getBytes(UTF_8);
    }

    static void operations(String root) throws Exception {
        try (ZooKeeper zk = connect(root)) {
            Stat stat = new Stat();
            List<ACL> open = Ids.OPEN_ACL_UNSAFE;
            check(zk.create("/a", bytes("1"), open, CreateMode.PERSISTENT, stat).equals("/a"), "create");
            check(stat.getVersion() == 0 && stat.getDataLength() == 1 && stat.getCzxid() > 0, "stat " + stat);
            fails(Code.NODEEXISTS, () -> zk.create("/a", null, open, CreateMode.PERSISTENT));
            fails(Code.NONODE, () -> zk.create("/x/y", null, open, CreateMode.PERSISTENT));
            check(zk.setData("/a", bytes("22"), 0).getVersion() == 1, "setData");
            fails(Code.BADVERSION, () -> zk.setData("/a", null, 0));
            check(new String(zk.getData("/a", false, stat), UTF_8).equals("22"), "getData");
            check(zk.exists("/none", false) == null, "exists");
            for (int i = 0; i < 3; i++) {
                String path = zk.create("/a/s-", null, open, CreateMode.PERSISTENT_SEQUENTIAL);
                check(path.equals(String.format("/a/s-%010d", i)), path);
            }
            check(zk.getChildren("/a", false, stat).size() == 3 && stat.getNumChildren() == 3, "children");
            check(zk.getAllChildrenNumber("/") == 4, "all children");
            fails(Code.NOTEMPTY, () -> zk.delete("/a", -1));
            zk.create("/e", null, open, CreateMode.EPHEMERAL);
            zk.create("/es-", null, open, CreateMode.EPHEMERAL_SEQUENTIAL);
            check(zk.exists("/e", false).getEphemeralOwner() == zk.getSessionId(), "owner");
            fails(Code.NOCHILDRENFOREPHEMERALS, () -> zk.create("/e/c", null, open, CreateMode.PERSISTENT));
            List<String> mine = new ArrayList<>(zk.getEphemerals());
            Collections.sort(mine);
            check(mine.size() == 2 && mine.get(0).endsWith("/e"), "ephemerals " + mine);
            zk.create("/c", null, open, CreateMode.CONTAINER, stat);
            zk.create("/t", null, open, CreateMode.PERSISTENT_WITH_TTL, stat, 3600000);
            check(zk.create("/t-", null, open, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 3600000)
                    .startsWith("/t-0000"), "sequential TTL");
            CountDownLatch synced = new CountDownLatch(1);
            zk.sync("/a", (rc, path, ctx) -> synced.countDown(), null);
            check(synced.await(10, TimeUnit.SECONDS), "sync");
            fails(Code.RECONFIGDISABLED, ClientTest::reconfigure);
            byte[] big = new byte[1000000];
            zk.create("/big", big, open, CreateMode.PERSISTENT);
            check(zk.getData("/big", false, null).length == big.length, "big data");
        }
    }

    /** Reconfiguration is an administrator's call, with a client class of its own. */
    static void reconfigure() throws Exception {
        try (ZooKeeperAdmin admin = new ZooKeeperAdmin(address, 10000, e -> { })) {
            admin.reconfigure("server.9=localhost:1:2;3", null, null, -1, new Stat());
        }
    }

    static void multis(String root) throws Exception {
        try (ZooKeeper zk = connect(root)) {
            List<ACL> open = Ids.OPEN_ACL_UNSAFE;
            List<OpResult> results = zk.multi(Arrays.asList(
                    Op.create("/m", bytes("0"), open, CreateMode.PERSISTENT),
                    Op.create("/m/s-", null, open, CreateMode.PERSISTENT_SEQUENTIAL),
                    Op.create("/m/c", null, open, CreateMode.CONTAINER),
                    Op.create("/m/t", null, open, CreateMode.PERSISTENT_WITH_TTL, 3600000),
                    Op.setData("/m", bytes("1"), 0),
                    Op.check("/m", 1),
                    Op.delete("/m/c", -1)));
            check(results.size() == 7, "results");
            check(((OpResult.CreateResult) results.get(1)).getPath().endsWith("/m/s-0000000000"), "path");
            check(((OpResult.SetDataResult) results.get(4)).getStat().getVersion() == 1, "version");
            try {
                zk.multi(Arrays.asList(
                        Op.create("/n", null, open, CreateMode.PERSISTENT),
                        Op.delete("/none", -1),
                        Op.setData("/m", null, -1)));
                throw new AssertionError("the multi should fail");
            } catch (KeeperException.NoNodeException e) {
                List<OpResult> failed = e.getResults();
                check(((OpResult.ErrorResult) failed.get(0)).getErr() == 0, "rolled back");
                check(((OpResult.ErrorResult) failed.get(1)).getErr() == Code.NONODE.intValue(), "the cause");
                check(((OpResult.ErrorResult) failed.get(2)).getErr()
                        == Code.RUNTIMEINCONSISTENCY.intValue(), "not tried");
            }
            check(zk.exists("/n", false) == null, "nothing of a failed multi is left");
            List<OpResult> read = zk.multi(Arrays.asList(
                    Op.getData("/m"), Op.getChildren("/m"), Op.getData("/none")));
            check(new String(((OpResult.GetDataResult) read.get(0)).getData(), UTF_8).equals("1"), "read");
            check(((OpResult.GetChildrenResult) read.get(1)).getChildren().size() == 2, "children");
            check(((OpResult.ErrorResult) read.get(2)).getErr() == Code.NONODE.intValue(), "none");
            Transaction t = zk.transaction();
            t.create("/tx", null, open, CreateMode.EPHEMERAL).check("/tx", 0).delete("/tx", 0);
            check(t.commit().size() == 3, "transaction");
        }
    }

    static void asynchronous(String root) throws Exception {
        try (ZooKeeper zk = connect(root)) {
            int n = 2000;
            CountDownLatch done = new CountDownLatch(3 * n);
            AtomicInteger bad = new AtomicInteger();
            List<Integer> order = Collections.synchronizedList(new ArrayList<>());
            for (int i = 0; i < n; i++) {
                int mine = i;
                String path = "/n" + i;
                zk.create(path, bytes("" + i), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT,
                        (rc, p, ctx, name) -> {
                            if (rc != 0 || !p.equals(name)) bad.incrementAndGet();
                            order.add(mine);
                            done.countDown();
                        }, null);
                zk.getData(path, false, (rc, p, ctx, data, stat) -> {
                    if (rc != 0 || !new String(data, UTF_8).equals("" + mine)) bad.incrementAndGet();
                    done.countDown();
                }, null);
                zk.delete(path, 5, (rc, p, ctx) -> {
                    if (rc != Code.BADVERSION.intValue()) bad.incrementAndGet();
                    done.countDown();
                }, null);
            }
            check(done.await(60, TimeUnit.SECONDS), "all answered");
            check(bad.get() == 0, bad + " wrong answers");
            for (int i = 0; i < n; i++) {
                check(order.get(i) == i, "answers in order");
            }
            check(zk.getChildren("/", false).size() == n, "all created");
        }
    }

    static void watches(String root) throws Exception {
        Heard heard = new Heard();
        try (ZooKeeper zk = connect(root, heard, 10000); ZooKeeper other = connect(root)) {
            List<ACL> open = Ids.OPEN_ACL_UNSAFE;
            zk.exists("/w", true);
            other.create("/w", null, open, CreateMode.PERSISTENT);
            heard.expect(EventType.NodeCreated, "/w");
            zk.getData("/w", true, null);
            zk.getChildren("/w", true);
            other.setData("/w", null, -1);
            heard.expect(EventType.NodeDataChanged, "/w");
            other.create("/w/c", null, open, CreateMode.PERSISTENT);
            heard.expect(EventType.NodeChildrenChanged, "/w");
            other.setData("/w", null, -1);
            heard.expectNothing();

            Heard persistent = new Heard();
            Heard recursive = new Heard();
            zk.addWatch("/w", persistent, AddWatchMode.PERSISTENT);
            zk.addWatch("/r", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            other.setData("/w", null, -1);
            other.create("/w/d", null, open, CreateMode.PERSISTENT);
            other.setData("/w/d", null, -1);
            other.delete("/w/d", -1);
            persistent.expect(EventType.NodeDataChanged, "/w");
            persistent.expect(EventType.NodeChildrenChanged, "/w");
            persistent.expect(EventType.NodeChildrenChanged, "/w");
            other.create("/r", null, open, CreateMode.PERSISTENT);
            other.multi(Arrays.asList(
                    Op.create("/r/a", null, open, CreateMode.PERSISTENT),
                    Op.create("/r/a/b", null, open, CreateMode.PERSISTENT),
                    Op.setData("/r/a/b", null, 0),
                    Op.delete("/r/a/b", 1)));
            recursive.expect(EventType.NodeCreated, "/r");
            recursive.expect(EventType.NodeCreated, "/r/a");
            recursive.expect(EventType.NodeCreated, "/r/a/b");
            recursive.expect(EventType.NodeDataChanged, "/r/a/b");
            recursive.expect(EventType.NodeDeleted, "/r/a/b");
            zk.removeWatches("/w", persistent, Watcher.WatcherType.Any, false);
            zk.removeAllWatches("/r", Watcher.WatcherType.Any, false);
            persistent.expect(EventType.PersistentWatchRemoved, "/w");
            recursive.expect(EventType.PersistentWatchRemoved, "/r");
            other.setData("/w", null, -1);
            other.setData("/r", null, -1);
            persistent.expectNothing();
            recursive.expectNothing();
            fails(Code.NOWATCHER, () -> zk.removeWatches("/w", persistent, Watcher.WatcherType.Any, false));
        }
    }

    static void permissions(String root) throws Exception {
        try (ZooKeeper ann = connect(root); ZooKeeper nobody = connect(root)) {
            ann.addAuthInfo("digest", bytes("ann:secret"));
            ann.create("/p", bytes("s"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
            fails(Code.NOAUTH, () -> nobody.getData("/p", false, null));
            fails(Code.NOAUTH, () -> nobody.create("/p/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
            Stat stat = new Stat();
            List<ACL> acl = ann.getACL("/p", stat);
            check(acl.size() == 1 && acl.get(0).getId().getScheme().equals("digest"), "" + acl);
            ann.setACL("/p", Arrays.asList(
                    new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE),
                    new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8"))), stat.getAversion());
            nobody.setData("/p", null, -1);
            fails(Code.INVALIDACL, () -> nobody.create("/q", null, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
            List<ClientInfo> who = ann.whoAmI();
            boolean found = false;
            for (ClientInfo info : who) {
                found |= info.getAuthScheme().equals("digest") && info.getUser().equals("ann");
            }
            check(found, "whoAmI: " + who);
        }
    }

    static void sessions(String root) throws Exception {
        Heard heard = new Heard();
        ZooKeeper zk = connect(root, heard, 6000);
        zk.create("/e", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        zk.addWatch("/e", AddWatchMode.PERSISTENT);
        // The first client gives up without closing its session; a second one takes it over.
        zk.getTestable().injectSessionExpiration();
        Heard second = new Heard();
        try (ZooKeeper taken = new ZooKeeper(address + root, 6000, second, zk.getSessionId(),
                zk.getSessionPasswd()); ZooKeeper other = connect(root)) {
            check(second.connected.await(15, TimeUnit.SECONDS), "reconnected");
            check(taken.getSessionId() == zk.getSessionId(), "the same session");
            check(other.exists("/e", false) != null, "the ephemeral outlives the connection");
            Heard watcher = new Heard();
            other.exists("/e", watcher);
            taken.close();
            watcher.expect(EventType.NodeDeleted, "/e");
        }
        // Unknown sessions are told so at once.
        CountDownLatch expired = new CountDownLatch(1);
        try (ZooKeeper dead = new ZooKeeper(address + root, 6000, e -> {
            if (e.getState() == KeeperState.Expired) expired.countDown();
        }, zk.getSessionId(), zk.getSessionPasswd())) {
            check(expired.await(10, TimeUnit.SECONDS), "the closed session has expired");
        }
        zk.close();
    }

    static void reconnecting(String root) throws Exception {
        Heard heard = new Heard();
        try (ZooKeeper zk = connect(root, heard, 8000); ZooKeeper other = connect(root)) {
            zk.create("/kept", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
            other.create("/w", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            zk.getData("/w", true, null);
            zk.exists("/later", true);
            Heard recursive = new Heard();
            zk.addWatch("/w", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
            long sid = zk.getSessionId();
            // A connection to nobody in the mean time: the client finds its way back, sets its
            // watches again and hears of what happened while it was away.
            zk.updateServerList("127.0.0.1:1," + address + root);
            zk.getTestable().closeSocket();
            other.setData("/w", bytes("while away"), -1);
            heard.expect(EventType.NodeDataChanged, "/w");
            check(zk.exists("/kept", false) != null, "the ephemeral is kept");
            check(zk.getSessionId() == sid, "the session is kept");
            other.create("/later", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            heard.expect(EventType.NodeCreated, "/later");
            other.create("/w/new", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            WatchedEvent e = recursive.events.poll(10, TimeUnit.SECONDS);
            while (e != null && e.getType() != EventType.NodeCreated) {
                e = recursive.events.poll(10, TimeUnit.SECONDS);
            }
            check(e != null && e.getPath().equals("/w/new"), "the persistent watch is kept");
        }
    }

    public static void main(String[] args) throws Exception {
        address = args[0];
        Thread limit = new Thread(() -> {
            try {
                Thread.sleep(100000);
            } catch (InterruptedException e) {
                return;
            }
            Thread.getAllStackTraces().forEach((t, s) -> System.out.println(t + " " + Arrays.toString(s)));
            System.exit(2);
        });
        limit.setDaemon(true);
        limit.start();
        operations(freshRoot());
        System.out.println("operations: ok");
        multis(freshRoot());
        System.out.println("multis: ok");
        asynchronous(freshRoot());
        System.out.println("asynchronous: ok");
        watches(freshRoot());
        System.out.println("watches: ok");
        permissions(freshRoot());
        System.out.println("permissions: ok");
        sessions(freshRoot());
        System.out.println("sessions: ok");
        reconnecting(freshRoot());
        System.out.println("reconnecting: ok");
        System.exit(0);
    }
}
