import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.Future;
import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.HRegionLocation;
import org.apache.hadoop.hbase.TableName;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.ColumnFamilyDescriptorBuilder;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;
import org.apache.hadoop.hbase.client.Get;
import org.apache.hadoop.hbase.client.Put;
import org.apache.hadoop.hbase.client.RegionInfo;
import org.apache.hadoop.hbase.client.Result;
import org.apache.hadoop.hbase.client.ResultScanner;
import org.apache.hadoop.hbase.client.Scan;
import org.apache.hadoop.hbase.client.Table;
import org.apache.hadoop.hbase.client.TableDescriptorBuilder;
import org.apache.hadoop.hbase.util.Bytes;

/**
 * HBase's client in the trial: obeys one command a line on its input, and answers each with one line,
 * "ok" and figures, or "failed" and why.
 *
 * <p>Rows are numbered from 0; a row's key and its value follow from its number, and keys are spread
 * evenly over the table.
 */
public final class Driver {
    private static final TableName TABLE = TableName.valueOf("trial");
    private static final byte[] FAMILY = Bytes.toBytes("f");
    private static final byte[] NUMBER = Bytes.toBytes("number");
    private static final byte[] VALUE = Bytes.toBytes("value");
    private static final int VALUE_BYTES = 100;
    private static final int BATCH = 50;

    private final Connection connection;
    private final Admin admin;
    private final BitSet acknowledged = new BitSet();
    private int misread;
    private int sent;
    private Thread writing;
    private volatile boolean stopping;

    private Driver() throws IOException {
        connection = ConnectionFactory.createConnection(HBaseConfiguration.create());
        admin = connection.getAdmin();
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver();
        BufferedReader input =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String answer;
            try {
                answer = "ok " + driver.obey(line.trim().split(" "));
            } catch (Exception error) {
                error.printStackTrace();
                answer = "failed " + error;
            }
            System.out.println(answer.replace('\n', ' '));
        }
        System.exit(0);
    }

    private String obey(String[] words) throws Exception {
        switch (words[0]) {
            case "servers":
                admin.listNamespaces(); // Waits for a master that is done with its start.
                return Integer.toString(admin.getClusterMetrics().getLiveServerMetrics().size());
            case "create":
                return create();
            case "split":
                return split();
            case "meta":
                return Integer.toString(locations(TableName.META_TABLE_NAME).get(0).getPort());
            case "served":
                return served();
            case "write":
                return write(Integer.parseInt(words[1]));
            case "stop":
                return stop();
            case "verify":
                return verify();
            case "drop":
                return drop();
            default:
                throw new IllegalArgumentException("unknown command: " + words[0]);
        }
    }

    /** A table of four regions. */
    private String create() throws IOException {
        byte[][] splits = {Bytes.toBytes("4"), Bytes.toBytes("8"), Bytes.toBytes("c")};
        admin.createTable(
                TableDescriptorBuilder.newBuilder(TABLE)
                        .setColumnFamily(ColumnFamilyDescriptorBuilder.of(FAMILY))
                        .build(),
                splits);
        return served();
    }

    private List<HRegionLocation> locations(TableName table) throws IOException {
        return connection.getRegionLocator(table).getAllRegionLocations();
    }

    /** Splits each region in the middle of its keys. */
    private String split() throws Exception {
        byte[][] middles = {
            Bytes.toBytes("2"), Bytes.toBytes("6"), Bytes.toBytes("a"), Bytes.toBytes("e")
        };
        List<Future<Void>> splits = new ArrayList<>();
        for (byte[] middle : middles) {
            RegionInfo region =
                    connection.getRegionLocator(TABLE).getRegionLocation(middle, true).getRegion();
            splits.add(admin.splitRegionAsync(region.getRegionName(), middle));
        }
        for (Future<Void> each : splits) {
            each.get();
        }
        return served();
    }

    /** Reads from every region; returns how many there are. */
    private String served() throws IOException {
        List<RegionInfo> regions = admin.getRegions(TABLE);
        try (Table table = connection.getTable(TABLE)) {
            for (RegionInfo region : regions) {
                table.exists(new Get(Bytes.add(region.getStartKey(), Bytes.toBytes("0"))));
            }
        }
        return Integer.toString(regions.size());
    }

    /** Starts a thread that writes about so many rows a second, and reads one of each batch back. */
    private String write(int rate) {
        writing = new Thread(() -> writeUntilStopped(rate));
        writing.start();
        return "";
    }

    private void writeUntilStopped(int rate) {
        long began = System.nanoTime();
        try (Table table = connection.getTable(TABLE)) {
            while (!stopping) {
                writeBatch(table);
                while ((System.nanoTime() - began) * rate < sent * 1_000_000_000L) {
                    Thread.sleep(2);
                }
            }
        } catch (InterruptedException | IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private void writeBatch(Table table) throws IOException {
        List<Put> puts = new ArrayList<>();
        for (int number = sent; number < sent + BATCH; number++) {
            Put put = new Put(key(number));
            put.addColumn(FAMILY, NUMBER, Bytes.toBytes(number));
            put.addColumn(FAMILY, VALUE, value(number));
            puts.add(put);
        }
        int first = sent;
        sent += BATCH;
        try {
            table.put(puts);
        } catch (IOException error) {
            System.err.println("not acknowledged: from row " + first + ": " + error);
            return;
        }
        acknowledged.set(first, first + BATCH);
        if (!isRight(table.get(new Get(key(first))))) {
            misread++;
        }
    }

    /** An odd factor makes the product another one for each number. */
    private static byte[] key(int number) {
        return Bytes.toBytes(String.format("%08x", number * 0x9E3779B1));
    }

    private static byte[] value(int number) {
        byte[] value = new byte[VALUE_BYTES];
        new SplittableRandom(number).nextBytes(value);
        return value;
    }

    private static boolean isRight(Result row) {
        if (row.isEmpty()) {
            return false;
        }
        int number = Bytes.toInt(row.getValue(FAMILY, NUMBER));
        return Arrays.equals(row.getRow(), key(number))
                && Arrays.equals(row.getValue(FAMILY, VALUE), value(number));
    }

    private String stop() throws InterruptedException {
        stopping = true;
        writing.join();
        return acknowledged.cardinality() + " " + (sent - acknowledged.cardinality());
    }

    /** Scans the table, and compares it with what was acknowledged. */
    private String verify() throws IOException {
        int read = 0;
        int wrong = misread;
        BitSet missing = (BitSet) acknowledged.clone();
        try (Table table = connection.getTable(TABLE);
                ResultScanner scanner = table.getScanner(new Scan().setCaching(1000))) {
            for (Result row : scanner) {
                read++;
                if (isRight(row)) {
                    missing.clear(Bytes.toInt(row.getValue(FAMILY, NUMBER)));
                } else {
                    wrong++;
                }
            }
        }
        return read + " " + missing.cardinality() + " " + wrong;
    }

    private String drop() throws IOException {
        admin.disableTable(TABLE);
        admin.deleteTable(TABLE);
        return "";
    }
}
