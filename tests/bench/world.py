"""What is measured, and what it is measured with: a cluster of its own, nginx beside it, and the
counters that the kernel and the processes keep.  Python's standard library only."""
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import resource
import shutil
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = ("gateway", "metanode", "storagenode", "witness")
TICKS = os.sysconf("SC_CLK_TCK")
NGINX_CONF = """
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log; worker_processes {cpus};
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on;
    keepalive_timeout 600; keepalive_requests 100000000; default_type application/octet-stream;
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    server {{ listen 127.0.0.1:{port}; root {dir}/files; }}
}}
"""


class Cluster:
    """Three zones as `make up` starts them, with ports and a directory of their own."""

    def __init__(self, directory, s3_port, port_base):
        self.dir = pathlib.Path(directory)
        self.ports = [s3_port + z for z in range(3)]
        self.env = dict(os.environ, CAIRN_VAR=str(self.dir), S3_PORT=str(s3_port), PORT_BASE=str(port_base))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.env.pop(name, None)

    def command(self, *args):
        done = subprocess.run([ROOT / "deploy/local/cluster.sh", *args], env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        if done.returncode != 0:
            raise SystemExit(f"cluster.sh {' '.join(args)} failed:\n{done.stdout}")

    def up(self):
        self.command("up")
        pairs = dict(line.split("=", 1) for line in (self.dir / "root-credentials").read_text().split())
        self.access, self.secret = pairs["access_key_id"], pairs["secret_access_key"]
        self.read_pids()

    def read_pids(self):
        self.pids = {p.stem: int(p.read_text().split()[0]) for p in sorted((self.dir / "run").glob("*.pid"))}
        self.admin = {}
        for node in self.pids:
            for line in (self.dir / "conf" / f"{node}.yaml").read_text().splitlines():
                if line.startswith("admin_listen: "):
                    self.admin[node] = line.split()[1]

    def reconfigure_gateways(self, line):
        """Restarts the gateways, with one more line of configuration or, if it is "", without."""
        for zone in range(1, 4):
            node = f"z{zone}-gateway-1"
            conf = self.dir / "conf" / f"{node}.yaml"
            kept = [text for text in conf.read_text().splitlines() if not text.startswith("witness_check")]
            conf.write_text("\n".join(kept + ([line] if line else [])) + "\n")
            self.command("stop", node)
            self.command("start", node)
        self.read_pids()
        for node in self.pids:
            if "gateway" in node:
                self.wait_ready(node)

    def wait_ready(self, node):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if urllib.request.urlopen(f"http://{self.admin[node]}/readyz", timeout=2).status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit(f"{node} did not become ready")

    def create_bucket(self, name, encryption=None):
        """encryption: what its objects are encrypted with, AES256 or aws:kms; None: they are not."""
        self.put(f"/{name}")
        if encryption:
            self.put(f"/{name}", "encryption", "<ServerSideEncryptionConfiguration><Rule>"
                     f"<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{encryption}</SSEAlgorithm>"
                     "</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>")

    def put(self, path, query="", body=""):
        def digest(key, text):
            return hmac.new(key, text.encode(), hashlib.sha256).digest()

        host, stamp = f"127.0.0.1:{self.ports[0]}", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        payload, day = hashlib.sha256(body.encode()).hexdigest(), stamp[:8]
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = (f"PUT\n{path}\n{query and query + '='}\nhost:{host}\nx-amz-content-sha256:{payload}\n"
                     f"x-amz-date:{stamp}\n\n{names}\n{payload}")
        scope = f"{day}/us-east-1/s3/aws4_request"
        key = ("AWS4" + self.secret).encode()
        for part in (day, "us-east-1", "s3", "aws4_request"):
            key = digest(key, part)
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        conn = http.client.HTTPConnection(host, timeout=20)
        conn.request("PUT", f"{path}?{query}" if query else path, body, headers={
            "x-amz-content-sha256": payload, "x-amz-date": stamp,
            "Authorization": f"AWS4-HMAC-SHA256 Credential={self.access}/{scope},SignedHeaders={names},"
                             f"Signature={digest(key, text).hex()}"})
        answer = conn.getresponse()
        if answer.status != 200:
            raise SystemExit(f"PUT {path}?{query}: {answer.status} {answer.read()!r}")
        conn.close()

    def metrics(self):
        """The counters of all processes by role, added up; histograms' buckets left out."""
        total = {role: {} for role in ROLES}
        for node, addr in self.admin.items():
            sums = total[node.split("-")[1]]
            for line in urllib.request.urlopen(f"http://{addr}/metrics", timeout=10).read().decode().splitlines():
                if line.startswith("#") or "_bucket{" in line:
                    continue
                name, value = line.rsplit(" ", 1)
                name = name.split("{")[0]
                sums[name] = sums.get(name, 0) + float(value)
        return total

    def resident_kib(self):
        found = {}
        for node, pid in self.pids.items():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    found[node] = int(line.split()[1])
        return found

    def down(self, keep):
        self.command("down")
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)


class Nginx:
    """Debian's nginx with sendfile and keep-alive, a worker a CPU, serving plain files."""

    def __init__(self, directory, port):
        self.dir, self.port, self.process = pathlib.Path(directory).resolve(), port, None

    def start(self):
        (self.dir / "files").mkdir(parents=True, exist_ok=True)
        conf = self.dir / "nginx.conf"
        conf.write_text(NGINX_CONF.format(dir=self.dir, port=self.port, cpus=os.cpu_count()))
        if os.geteuid() == 0:  # else its workers become nobody, who may not read here
            conf.write_text("user root;\n" + conf.read_text())
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self.process = subprocess.Popen([program, "-p", self.dir, "-c", conf],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                http.client.HTTPConnection("127.0.0.1", self.port, timeout=1).connect()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"nginx did not start: {(self.dir / 'error.log').read_text()}")

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
        shutil.rmtree(self.dir, ignore_errors=True)


def cpu_and_switches(pids):
    """CPU seconds and context switches of processes, their threads included."""
    seconds = switches = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds += (int(fields[11]) + int(fields[12])) / TICKS
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.endswith("ctxt_switches") or "ctxt_switches:" in line:
                    switches += int(line.split()[1])
    return seconds, switches


class Counters:
    """What the kernel and the processes have counted so far; a difference belongs to what ran between."""

    def __init__(self, cluster):
        self.metrics = cluster.metrics()
        self.cpu, self.switches = {}, {}
        for role in ROLES:
            pids = [pid for node, pid in cluster.pids.items() if f"-{role}-" in node]
            self.cpu[role], self.switches[role] = cpu_and_switches(pids)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu["client"] = children.ru_utime + children.ru_stime
        for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
            if line.strip().startswith("lo:"):
                self.loopback_bytes = int(line.split()[1])
        self.written_bytes = 0
        for pid in cluster.pids.values():
            for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
                if line.startswith("write_bytes:"):
                    self.written_bytes += int(line.split()[1])

    def since(self, before, role, name):
        return self.metrics[role].get(name, 0) - before.metrics[role].get(name, 0)

    def per_op(self, before, ops):
        """The cost of one operation, by what it is made of."""
        ops = max(ops, 1)
        cost = {f"cpu_us_{who}": (self.cpu[who] - before.cpu[who]) * 1e6 / ops for who in self.cpu}
        cost["cpu_us_all"] = sum(cost.values())
        for role in ROLES:
            cost[f"switches_{role}"] = (self.switches[role] - before.switches[role]) / ops
        for label, role, names in COUNTED:
            cost[label] = sum(self.since(before, role, name) for name in names) / ops
        cost["loopback_bytes"] = (self.loopback_bytes - before.loopback_bytes) / ops
        cost["written_bytes"] = (self.written_bytes - before.written_bytes) / ops
        return cost


# What one operation asks of others: label, who counts it, the counters added up.
COUNTED = (
    ("witness_frames", "gateway", ("cairn_gateway_witness_checks_total",)),
    ("witness_questions", "gateway", ("cairn_gateway_witness_questions_total",)),
    ("leader_reads", "gateway", ("cairn_gateway_leader_reads_total",)),
    ("proposals", "gateway", ("cairn_gateway_proposals_total",)),
    ("blob_reads", "gateway", ("cairn_gateway_blob_reads_total",)),
    ("blob_hedges", "gateway", ("cairn_gateway_blob_read_hedges_total",)),
    ("blob_writes", "gateway", ("cairn_gateway_blob_writes_total",)),
    ("raft_batches", "metanode", ("cairn_meta_raft_batches_sent_total",)),
    ("raft_messages", "metanode", ("cairn_meta_raft_messages_sent_total",)),
    ("stream_messages", "metanode", ("cairn_meta_stream_appends_total", "cairn_meta_stream_acks_total")),
    ("log_fsyncs", "metanode", ("cairn_meta_log_fsyncs_total",)),
    ("store_fsyncs", "storagenode", ("cairn_store_syncs_total",)),
)


class Bench:
    """Runs cairn-bench and returns what it prints."""

    def __init__(self, program, cluster):
        self.program, self.cluster = program, cluster
        self.env = dict(os.environ, AWS_ACCESS_KEY_ID=cluster.access, AWS_SECRET_ACCESS_KEY=cluster.secret)

    def __call__(self, mode, timeout=240, **options):
        args = [f"--{name}={value}" for name, value in options.items()]
        done = subprocess.run([self.program, mode, *args], env=self.env, text=True, timeout=timeout,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise SystemExit(f"cairn-bench {mode} {' '.join(args)} failed: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)
