import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.LongSerializer;

/**
 * Kafka's client in the trial: obeys one command a line on its input, and answers each with one line,
 * "ok" and figures, or "failed" and why. Arguments: bootstrap servers, topics, partitions of each.
 *
 * <p>Each partition gets records numbered from 0; a record's bytes follow from its partition and
 * number, so that the consumer knows what they must be.
 */
public final class Driver {
    private static final int VALUE_BYTES = 200;
    private static final long PATIENCE_MS = 120_000;

    private final String servers;
    private final int topics;
    private final int partitionsEach;
    private final List<TopicPartition> partitions = new ArrayList<>();
    private final List<BitSet> acknowledged = new ArrayList<>();
    private final int[] sent;
    private final AtomicLong refused = new AtomicLong();
    private final Admin admin;
    private Thread producing;
    private volatile boolean stopping;

    private Driver(String servers, int topics, int partitionsEach) {
        this.servers = servers;
        this.topics = topics;
        this.partitionsEach = partitionsEach;
        for (int topic = 0; topic < topics; topic++) {
            for (int partition = 0; partition < partitionsEach; partition++) {
                partitions.add(new TopicPartition(name(topic), partition));
                acknowledged.add(new BitSet());
            }
        }
        sent = new int[partitions.size()];
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("request.timeout.ms", Long.toString(PATIENCE_MS));
        settings.put("default.api.timeout.ms", Long.toString(PATIENCE_MS));
        admin = Admin.create(settings);
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver =
                new Driver(arguments[0], Integer.parseInt(arguments[1]), Integer.parseInt(arguments[2]));
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String answer;
            try {
                answer = "ok " + driver.obey(line.trim().split(" "));
            } catch (Exception error) {
                answer = "failed " + error;
            }
            System.out.println(answer.replace('\n', ' '));
        }
        System.exit(0);
    }

    private String obey(String[] words) throws Exception {
        switch (words[0]) {
            case "create":
                return create(Short.parseShort(words[1]));
            case "insync":
                return waitUntilInSync(Integer.parseInt(words[1]));
            case "produce":
                return produce(Integer.parseInt(words[1]));
            case "acknowledged":
                return Long.toString(acknowledgedCount());
            case "stop":
                return stop();
            case "verify":
                return verify();
            case "delete":
                return delete();
            default:
                throw new IllegalArgumentException("unknown command: " + words[0]);
        }
    }

    private static String name(int topic) {
        return "trial-" + topic;
    }

    private List<String> names() {
        return IntStream.range(0, topics).mapToObj(Driver::name).collect(Collectors.toList());
    }

    private String create(short replicas) throws Exception {
        List<NewTopic> wanted =
                names().stream()
                        .map(name -> new NewTopic(name, partitionsEach, replicas))
                        .collect(Collectors.toList());
        admin.createTopics(wanted).all().get();
        return waitUntilInSync(replicas);
    }

    /** Until each partition has a leader and so many replicas in sync. */
    private String waitUntilInSync(int replicas) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            long ready = inSync(replicas);
            if (ready == partitions.size()) {
                return ready + " partitions";
            }
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("in sync: " + ready + " of " + partitions.size());
            }
            Thread.sleep(50);
        }
    }

    private long inSync(int replicas) throws InterruptedException {
        Collection<TopicDescription> descriptions;
        try {
            descriptions = admin.describeTopics(names()).allTopicNames().get().values();
        } catch (ExecutionException error) {
            return 0; // A broker that has not heard of a topic yet.
        }
        return descriptions.stream()
                .flatMap(each -> each.partitions().stream())
                .filter(each -> each.leader() != null && !each.leader().isEmpty())
                .filter(each -> each.isr().size() == replicas)
                .count();
    }

    /** Starts a thread that sends so many records a second, to all partitions in turn. */
    private String produce(int rate) {
        stopping = false;
        producing = new Thread(() -> send(rate));
        producing.start();
        return "";
    }

    private void send(int rate) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("key.serializer", LongSerializer.class.getName());
        settings.put("value.serializer", ByteArraySerializer.class.getName());
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "5");
        settings.put("batch.size", "4096");
        // Nothing is given up: a record that no broker takes for so long is refused.
        settings.put("delivery.timeout.ms", Long.toString(PATIENCE_MS));
        settings.put("max.block.ms", Long.toString(PATIENCE_MS));
        settings.put("request.timeout.ms", "10000");
        try (KafkaProducer<Long, byte[]> producer = new KafkaProducer<>(settings)) {
            long began = System.nanoTime();
            for (long count = 0; !stopping; count++) {
                sendOne(producer, (int) (count % partitions.size()));
                while (!stopping && (System.nanoTime() - began) * rate < count * 1_000_000_000L) {
                    sleepBriefly();
                }
            }
        }
    }

    private static void sleepBriefly() {
        try {
            Thread.sleep(2);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private void sendOne(KafkaProducer<Long, byte[]> producer, int index) {
        TopicPartition partition = partitions.get(index);
        int number = sent[index]++;
        ProducerRecord<Long, byte[]> record =
                new ProducerRecord<>(
                        partition.topic(), partition.partition(), (long) number, value(index, number));
        producer.send(
                record,
                (metadata, error) -> {
                    if (error == null) {
                        synchronized (acknowledged) {
                            acknowledged.get(index).set(number);
                        }
                    } else {
                        refused.incrementAndGet();
                        System.err.println("refused: " + partition + " " + number + ": " + error);
                    }
                });
    }

    private static byte[] value(int index, int number) {
        byte[] value = new byte[VALUE_BYTES];
        new SplittableRandom(((long) index << 32) | number).nextBytes(value);
        return value;
    }

    private long acknowledgedCount() {
        synchronized (acknowledged) {
            return acknowledged.stream().mapToLong(BitSet::cardinality).sum();
        }
    }

    private String stop() throws InterruptedException {
        stopping = true;
        producing.join();
        return acknowledgedCount() + " " + refused.get();
    }

    /** Reads every partition from its start to its end, and compares with what was acknowledged. */
    private String verify() {
        long lost = 0;
        long wrong = 0;
        long read = 0;
        int[] last = new int[partitions.size()];
        Arrays.fill(last, -1);
        List<BitSet> seen = new ArrayList<>();
        partitions.forEach(each -> seen.add(new BitSet()));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", servers);
        settings.put("key.deserializer", LongDeserializer.class.getName());
        settings.put("value.deserializer", ByteArrayDeserializer.class.getName());
        settings.put("max.poll.records", "10000");
        try (KafkaConsumer<Long, byte[]> consumer = new KafkaConsumer<>(settings)) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long wanted = ends.values().stream().mapToLong(Long::longValue).sum();
            long deadline = System.currentTimeMillis() + PATIENCE_MS;
            while (read < wanted && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<Long, byte[]> record :
                        consumer.poll(Duration.ofMillis(500))) {
                    read++;
                    int topic = Integer.parseInt(record.topic().substring("trial-".length()));
                    int index = topic * partitionsEach + record.partition();
                    int number = (int) (long) record.key();
                    // Once each, in order, as it was sent.
                    boolean isRight =
                            number > last[index] && Arrays.equals(record.value(), value(index, number));
                    wrong += isRight ? 0 : 1;
                    last[index] = number;
                    seen.get(index).set(number);
                }
            }
        }
        for (int index = 0; index < partitions.size(); index++) {
            BitSet missing = (BitSet) acknowledged.get(index).clone();
            missing.andNot(seen.get(index));
            lost += missing.cardinality();
        }
        return read + " " + lost + " " + wrong;
    }

    private String delete() throws Exception {
        admin.deleteTopics(names()).all().get();
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (!admin.listTopics().names().get().isEmpty()) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("topics are left");
            }
            Thread.sleep(50);
        }
        return "";
    }
}
