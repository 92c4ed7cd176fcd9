import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.NodeCache;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceProvider;
import org.apache.zookeeper.CreateMode;

/** Curator's recipes against the server that the argument names. */
public class CuratorTest {
    static String address;
    static String root;
    static final List<CuratorFramework> CLIENTS = new ArrayList<>();

    interface Work {
        void run(int i) throws Exception;
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void eventually(String what, BooleanSupplier holds) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(15);
        while (System.nanoTime() < end) {
            if (holds.getAsBoolean()) {
                return;
            }
            Thread.sleep(10);
        }
        throw new AssertionError("not in time: " + what);
    }

    static CuratorFramework client() {
        CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(address).namespace(root).retryPolicy(new RetryNTimes(3, 100))
                .sessionTimeoutMs(8000).connectionTimeoutMs(8000).build();
        client.start();
        CLIENTS.add(client);
        return client;
    }

    static void together(int n, Work work) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(n);
        List<Future<?>> all = new ArrayList<>();
        for (int i = 0; i < n; i++) {
            int mine = i;
            all.add(pool.submit(() -> {
                work.run(mine);
                return null;
            }));
        }
        for (Future<?> f : all) {
            f.get(40, TimeUnit.SECONDS);
        }
        pool.shutdownNow();
    }

    static void basics() throws Exception {
        CuratorFramework c = client();
        c.create().creatingParentContainersIfNeeded().forPath("/basics/a/b", "v".getBytes(UTF_8));
        check(new String(c.getData().forPath("/basics/a/b"), UTF_8).equals("v"), "data");
        c.create().orSetData().forPath("/basics/a/b", "w".getBytes(UTF_8));
        check(c.checkExists().forPath("/basics/a/b").getVersion() == 1, "orSetData");
        check(c.transaction().forOperations(
                c.transactionOp().check().withVersion(1).forPath("/basics/a/b"),
                c.transactionOp().create().forPath("/basics/t"),
                c.transactionOp().delete().forPath("/basics/t")).size() == 3, "transaction");
        String path = c.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL)
                .forPath("/basics/p-");
        check(path.contains("_c_"), path);
        c.create().withTtl(3600000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/basics/ttl");
        c.delete().guaranteed().deletingChildrenIfNeeded().forPath("/basics");
        check(c.checkExists().forPath("/basics") == null, "deleted with its children");
    }

    static void mutex() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger entered = new AtomicInteger();
        together(10, i -> {
            InterProcessMutex mutex = new InterProcessMutex(client(), "/mutex");
            for (int round = 0; round < 3; round++) {
                check(mutex.acquire(30, TimeUnit.SECONDS), "acquired");
                check(inside.incrementAndGet() == 1, "two hold the lock");
                mutex.acquire();
                mutex.release();
                Thread.sleep(2);
                inside.decrementAndGet();
                entered.incrementAndGet();
                mutex.release();
            }
        });
        check(entered.get() == 30, "all had their turns");
        CuratorFramework c = client();
        InterProcessReadWriteLock lock = new InterProcessReadWriteLock(c, "/rw");
        InterProcessReadWriteLock theirs = new InterProcessReadWriteLock(client(), "/rw");
        lock.readLock().acquire();
        check(theirs.readLock().acquire(5, TimeUnit.SECONDS), "readers share");
        theirs.readLock().release();
        check(!theirs.writeLock().acquire(100, TimeUnit.MILLISECONDS), "a writer waits");
        lock.readLock().release();
        check(theirs.writeLock().acquire(5, TimeUnit.SECONDS), "a writer alone");
        theirs.writeLock().release();
        InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(c, "/semaphore", 2);
        Lease a = semaphore.acquire(5, TimeUnit.SECONDS);
        Lease b = semaphore.acquire(5, TimeUnit.SECONDS);
        check(a != null && b != null, "two leases");
        check(semaphore.acquire(100, TimeUnit.MILLISECONDS) == null, "no third");
        semaphore.returnLease(a);
        check(semaphore.acquire(5, TimeUnit.SECONDS) != null, "a returned lease");
    }

    static void leaders() throws Exception {
        List<LeaderLatch> latches = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            LeaderLatch latch = new LeaderLatch(client(), "/latch", "l" + i);
            latch.start();
            latches.add(latch);
        }
        eventually("a leader", () -> latches.stream().filter(LeaderLatch::hasLeadership).count() == 1);
        while (!latches.isEmpty()) {
            LeaderLatch leader = latches.stream().filter(LeaderLatch::hasLeadership).findFirst().get();
            check(leader.getParticipants().size() == latches.size(), "participants");
            latches.remove(leader);
            leader.close();
            eventually("the next leader", () -> latches.isEmpty()
                    || latches.stream().filter(LeaderLatch::hasLeadership).count() == 1);
        }
        AtomicInteger leading = new AtomicInteger();
        Set<Integer> led = new ConcurrentSkipListSet<>();
        CountDownLatch all = new CountDownLatch(3);
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            int mine = i;
            LeaderSelector s = new LeaderSelector(client(), "/selector", new LeaderSelectorListenerAdapter() {
                public void takeLeadership(CuratorFramework c) throws Exception {
                    check(leading.incrementAndGet() == 1, "two lead");
                    Thread.sleep(20);
                    leading.decrementAndGet();
                    if (led.add(mine)) {
                        all.countDown();
                    }
                }
            });
            s.autoRequeue();
            s.start();
            selectors.add(s);
        }
        check(all.await(20, TimeUnit.SECONDS), "all led in turn");
        selectors.forEach(LeaderSelector::close);
    }

    @SuppressWarnings("deprecation")
    static void caches() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        c.create().forPath("/cache");
        Set<String> heard = new ConcurrentSkipListSet<>();
        CuratorCache cache = CuratorCache.build(c, "/cache");
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forCreates(n -> heard.add("created " + n.getPath()))
                .forChanges((o, n) -> heard.add("changed " + n.getPath()))
                .forDeletes(n -> heard.add("deleted " + n.getPath())).build());
        cache.start();
        PathChildrenCache children = new PathChildrenCache(c, "/cache", true);
        children.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        NodeCache node = new NodeCache(c, "/cache/a");
        node.start(true);
        TreeCache tree = new TreeCache(c, "/cache");
        tree.start();
        other.create().forPath("/cache/a", "1".getBytes(UTF_8));
        other.create().forPath("/cache/a/b");
        other.setData().forPath("/cache/a", "2".getBytes(UTF_8));
        eventually("the child's data", () -> children.getCurrentData("/cache/a") != null
                && Arrays.equals(children.getCurrentData("/cache/a").getData(), "2".getBytes(UTF_8)));
        eventually("the node's data", () -> node.getCurrentData() != null
                && Arrays.equals(node.getCurrentData().getData(), "2".getBytes(UTF_8)));
        eventually("the tree", () -> tree.getCurrentData("/cache/a/b") != null);
        eventually("the cache", () -> cache.get("/cache/a/b").isPresent());
        other.delete().deletingChildrenIfNeeded().forPath("/cache/a");
        eventually("gone", () -> children.getCurrentData().isEmpty() && node.getCurrentData() == null
                && tree.getCurrentData("/cache/a") == null && !cache.get("/cache/a").isPresent());
        eventually("deleted", () -> heard.contains("deleted /cache/a/b") && heard.contains("deleted /cache/a"));
        cache.close();
        children.close();
        node.close();
        tree.close();
    }

    static void queueAndBarriers() throws Exception {
        CuratorFramework c = client();
        List<String> taken = Collections.synchronizedList(new ArrayList<>());
        DistributedQueue<String> queue = QueueBuilder.builder(c, new QueueConsumer<String>() {
            public void consumeMessage(String message) {
                taken.add(message);
            }

            public void stateChanged(CuratorFramework client, ConnectionState state) { }
        }, new QueueSerializer<String>() {
            public byte[] serialize(String s) {
                return s.getBytes(UTF_8);
            }

            public String deserialize(byte[] b) {
                return new String(b, UTF_8);
            }
        }, "/queue").buildQueue();
        queue.start();
        List<String> put = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            queue.put("m" + i);
            put.add("m" + i);
        }
        eventually("all messages", () -> taken.size() == 20);
        check(taken.equals(put), "in order: " + taken);
        queue.close();

        DistributedBarrier barrier = new DistributedBarrier(c, "/barrier");
        barrier.setBarrier();
        check(!barrier.waitOnBarrier(100, TimeUnit.MILLISECONDS), "the barrier holds");
        DistributedBarrier theirs = new DistributedBarrier(client(), "/barrier");
        new Thread(() -> {
            try {
                Thread.sleep(100);
                theirs.removeBarrier();
            } catch (Exception e) {
                e.printStackTrace();
            }
        }).start();
        check(barrier.waitOnBarrier(15, TimeUnit.SECONDS), "the barrier opens");
        AtomicInteger inside = new AtomicInteger();
        together(3, i -> {
            DistributedDoubleBarrier both = new DistributedDoubleBarrier(client(), "/double", 3);
            check(both.enter(20, TimeUnit.SECONDS), "entered");
            inside.incrementAndGet();
            eventually("all inside", () -> inside.get() == 3);
            check(both.leave(20, TimeUnit.SECONDS), "left");
        });
    }

    static void counts() throws Exception {
        SharedCount mine = new SharedCount(client(), "/count", 5);
        SharedCount theirs = new SharedCount(client(), "/count", 5);
        mine.start();
        theirs.start();
        check(mine.getCount() == 5, "the seed");
        mine.setCount(9);
        eventually("the new count", () -> theirs.getCount() == 9);
        mine.close();
        theirs.close();
        together(4, i -> {
            DistributedAtomicLong sum = new DistributedAtomicLong(client(), "/sum", new RetryNTimes(200, 5));
            for (int round = 0; round < 10; round++) {
                check(sum.increment().succeeded(), "incremented");
            }
        });
        long total = new DistributedAtomicLong(client(), "/sum", new RetryOneTime(1)).get().postValue();
        check(total == 40, "sum " + total);
    }

    static void membership() throws Exception {
        CuratorFramework c = client();
        CuratorFramework other = client();
        PersistentNode node = new PersistentNode(c, CreateMode.EPHEMERAL, false, "/persistent", new byte[] {1});
        node.start();
        check(node.waitForInitialCreate(10, TimeUnit.SECONDS), "created");
        long first = other.checkExists().forPath("/persistent").getCzxid();
        other.delete().forPath("/persistent");
        eventually("made again", () -> {
            try {
                return other.checkExists().forPath("/persistent") != null
                        && other.checkExists().forPath("/persistent").getCzxid() > first;
            } catch (Exception e) {
                return false;
            }
        });
        node.close();
        GroupMember m1 = new GroupMember(c, "/group", "m1");
        GroupMember m2 = new GroupMember(other, "/group", "m2");
        m1.start();
        m2.start();
        eventually("two members", () -> m1.getCurrentMembers().size() == 2);
        m2.close();
        eventually("one member", () -> m1.getCurrentMembers().size() == 1);
        m1.close();

        ServiceInstance<Void> instance = ServiceInstance.<Void>builder()
                .name("web").address("10.0.0.1").port(80).build();
        ServiceDiscovery<Void> server = ServiceDiscoveryBuilder.builder(Void.class)
                .client(c).basePath("/services").thisInstance(instance).build();
        server.start();
        ServiceDiscovery<Void> finder = ServiceDiscoveryBuilder.builder(Void.class)
                .client(other).basePath("/services").build();
        finder.start();
        check(finder.queryForInstances("web").size() == 1, "found");
        ServiceProvider<Void> provider = finder.serviceProviderBuilder().serviceName("web").build();
        provider.start();
        check(provider.getInstance().getPort() == 80, "the instance");
        server.close();
        eventually("the instance gone", () -> {
            try {
                return finder.queryForInstances("web").isEmpty() && provider.getInstance() == null;
            } catch (Exception e) {
                return false;
            }
        });
        provider.close();
        finder.close();
    }

    interface Test {
        void run() throws Exception;
    }

    static void run(String name, Test test) throws Exception {
        long start = System.nanoTime();
        test.run();
        CLIENTS.forEach(CuratorFramework::close);
        CLIENTS.clear();
        System.out.printf("%s: ok (%.1f s)%n", name, (System.nanoTime() - start) / 1e9);
    }

    public static void main(String[] args) throws Exception {
        address = args[0];
        root = "curator-" + Long.toHexString(System.nanoTime());
        Thread limit = new Thread(() -> {
            try {
                Thread.sleep(110000);
            } catch (InterruptedException e) {
                return;
            }
            Thread.getAllStackTraces().forEach((t, s) -> System.out.println(t + " " + Arrays.toString(s)));
            System.exit(2);
        });
        limit.setDaemon(true);
        limit.start();
        run("basics", CuratorTest::basics);
        run("mutex", CuratorTest::mutex);
        run("leaders", CuratorTest::leaders);
        run("caches", CuratorTest::caches);
        run("queue and barriers", CuratorTest::queueAndBarriers);
        run("counts", CuratorTest::counts);
        run("membership", CuratorTest::membership);
        System.exit(0);
    }
}
