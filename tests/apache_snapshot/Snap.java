// Apache's own classes as the judge of our snapshots: they make the fixture beside this file, and read what we write.
//
//   Snap make BODY TEXT      a tree with znodes of every kind: its body as a leader sends it, and what it holds as text
//   Snap read BODY TEXT      what a learner makes of a body
//
// Compiled and run by ./run against Debian's zookeeper.jar.

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.jute.BinaryInputArchive;
import org.apache.jute.BinaryOutputArchive;
import org.apache.jute.Record;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.StatPersisted;
import org.apache.zookeeper.server.DataNode;
import org.apache.zookeeper.server.DataTree;
import org.apache.zookeeper.server.util.SerializeUtils;
import org.apache.zookeeper.txn.CreateContainerTxn;
import org.apache.zookeeper.txn.CreateTTLTxn;
import org.apache.zookeeper.txn.CreateTxn;
import org.apache.zookeeper.txn.DeleteTxn;
import org.apache.zookeeper.txn.SetACLTxn;
import org.apache.zookeeper.txn.SetDataTxn;
import org.apache.zookeeper.txn.TxnHeader;

public class Snap {
    static long zxid = 0x100000000L;
    static final DataTree tree = new DataTree();
    static final Map<Long, Integer> sessions = new TreeMap<>();

    static void apply(long session, int type, Record txn) {
        zxid++;
        tree.processTxn(new TxnHeader(session, 1, zxid, 1700000000000L + zxid % 1000, type), txn, null);
    }

    static void make() {
        sessions.put(0x100000000000001L, 4000);
        sessions.put(0x200000000000002L, 30000);
        sessions.put(0x7f00000000000005L, 6000);
        List<ACL> open = Ids.OPEN_ACL_UNSAFE;
        List<ACL> read = Ids.READ_ACL_UNSAFE;
        List<ACL> two = Arrays.asList(
            new ACL(ZooDefs.Perms.ALL, new Id("digest", "user:cGFzc3dvcmQ=")),
            new ACL(ZooDefs.Perms.READ | ZooDefs.Perms.WRITE, new Id("ip", "10.0.0.0/8")));
        byte[] some = "some data".getBytes(StandardCharsets.UTF_8);
        int cversion = 1;
        apply(1, OpCode.create, new CreateTxn("/app", some, open, false, cversion++));
        apply(1, OpCode.create, new CreateTxn("/empty", new byte[0], read, false, cversion++));
        apply(1, OpCode.create, new CreateTxn("/null", null, two, false, cversion++));
        apply(1, OpCode.create, new CreateTxn("/caf\u00e9-\u6d4b\u8bd5", some, two, false, cversion++));
        apply(0x100000000000001L, OpCode.create, new CreateTxn("/app/ephemeral", some, open, true, 1));
        apply(0x7f00000000000005L, OpCode.create, new CreateTxn("/app/other", null, read, true, 2));
        apply(1, OpCode.createContainer, new CreateContainerTxn("/container", some, open, cversion++));
        apply(1, OpCode.createTTL, new CreateTTLTxn("/ttl", some, open, cversion++, 60000));
        for (int i = 0; i < 40; i++) {
            apply(1, OpCode.create, new CreateTxn("/app/child-" + i, new byte[i * 7], i % 3 == 0 ? two : open, false, 3 + i));
        }
        String path = "/app/child-0";
        for (int depth = 0; depth < 20; depth++) {
            path += "/d";
            apply(1, OpCode.create, new CreateTxn(path, path.getBytes(StandardCharsets.UTF_8), open, false, 1));
        }
        apply(1, OpCode.setData, new SetDataTxn("/app", "more".getBytes(StandardCharsets.UTF_8), 1));
        apply(1, OpCode.setACL, new SetACLTxn("/empty", two, 1));
        apply(1, OpCode.delete, new DeleteTxn("/app/child-7"));
        apply(1, OpCode.create, new CreateTxn("/zookeeper/quota/app", null, open, false, 1));
        apply(1, OpCode.create, new CreateTxn("/zookeeper/quota/app/zookeeper_limits", "count=100,bytes=-1".getBytes(), open, false, 1));
        apply(1, OpCode.create, new CreateTxn("/zookeeper/quota/app/zookeeper_stats", "count=1,bytes=1".getBytes(), open, false, 2));
    }

    static String hex(byte[] bytes) {
        if (bytes == null) {
            return "null";
        }
        StringBuilder text = new StringBuilder("=");
        for (byte one : bytes) {
            text.append(String.format("%02x", one));
        }
        return text.toString();
    }

    static String text() throws Exception {
        StringBuilder text = new StringBuilder();
        for (Map.Entry<Long, Integer> session : sessions.entrySet()) {
            text.append(String.format("session %x %d\n", session.getKey(), session.getValue()));
        }
        TreeMap<String, DataNode> nodes = new TreeMap<>();
        ArrayDeque<String> open = new ArrayDeque<>();
        open.add("/");
        while (!open.isEmpty()) {
            String path = open.pop();
            DataNode node = tree.getNode(path);
            nodes.put(path, node);
            for (String child : node.getChildren()) {
                open.push((path.equals("/") ? "" : path) + "/" + child);
            }
        }
        for (Map.Entry<String, DataNode> entry : nodes.entrySet()) {
            DataNode node = entry.getValue();
            StatPersisted stat = node.stat;
            text.append("znode ").append(entry.getKey()).append(' ').append(hex(node.getData()));
            for (ACL acl : tree.getACL(node)) {
                text.append(String.format(" %d:%s:%s", acl.getPerms(), acl.getId().getScheme(), acl.getId().getId()));
            }
            text.append(String.format(" | %x %x %d %d %d %d %d %x %x\n", stat.getCzxid(), stat.getMzxid(), stat.getCtime(),
                stat.getMtime(), stat.getVersion(), stat.getCversion(), stat.getAversion(), stat.getEphemeralOwner(),
                stat.getPzxid()));
        }
        text.append(String.format("digest %x\n", tree.getTreeDigest()));
        return text.toString();
    }

    public static void main(String[] args) throws Exception {
        Path body = Path.of(args[1]);
        if (args[0].equals("make")) {
            make();
            try (BufferedOutputStream out = new BufferedOutputStream(Files.newOutputStream(body))) {
                BinaryOutputArchive archive = BinaryOutputArchive.getArchive(out);
                SerializeUtils.serializeSnapshot(tree, archive, sessions);
                archive.writeString("BenWasHere", "signature");
            }
        } else {
            try (BufferedInputStream in = new BufferedInputStream(Files.newInputStream(body))) {
                BinaryInputArchive archive = new BinaryInputArchive(new DataInputStream(in));
                SerializeUtils.deserializeSnapshot(tree, archive, sessions);
                if (!archive.readString("signature").equals("BenWasHere") || in.read() != -1) {
                    throw new Exception("no signature, or something behind it");
                }
            }
        }
        Files.writeString(Path.of(args[2]), text());
    }
}
