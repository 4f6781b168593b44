#!/usr/bin/env python3
"""What can be known without running Cairn.  `make lint` builds the libraries with gcc and clang, then
calls this; every finding is a line "path:line: what", and any finding fails.

Each check is a function from a Tree to findings, and has a planted violation in `PLANTS`: before a
check is believed, it must find its plant in a tree made for it, so that it cannot pass by being blind.
"""
import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
JOBS = os.cpu_count() or 1
SERVICES = ("gateway", "metanode", "storagenode", "witness", "cli")

# ---- the rules, as tables ----

# Pure folders decide and do no I/O.  They may call what is listed here, what they define themselves,
# and the libraries named; nothing else, so that a new libc call is a decision, not an accident.
PURE = {
    "metanode/raft": ("common/base",),
    "metanode/index": ("common/base", "common/env", "proto"),
    "metanode/visible": ("common/base",),
    "metanode/placement": ("common/base",),
    "storagenode/extent": ("common/base",),
    "storagenode/repair/core": ("common/base",),
    "storagenode/orphans/core": ("common/base",),
    "common/ec": ("common/base",),
    "witness/core": ("common/base",),
    "gateway/s3": ("common/base", "common/crypto", "gateway/policy"),
    "gateway/cache": ("common/base", "proto"),
    "gateway/crypt": ("common/base", "common/crypto", "proto"),
    "gateway/admin": ("common/base",),
    "gateway/policy": ("common/base",),
    "gateway/iam": ("common/base", "common/crypto", "gateway/policy", "gateway/s3", "proto"),
    "cli/durability": ("common/base",),
    "cli/salvage": ("common/base", "common/ec", "storagenode/extent"),
}
PURE_SYMBOLS = re.compile(r"""^(
    _GLOBAL_OFFSET_TABLE_ | __stack_chk_fail | abort
  | malloc | calloc | realloc | free
  | (__)?mem(cpy|move|set|cmp|chr|rchr|mem)(_chk)?
  | str(len|nlen|cmp|ncmp|chr|rchr|casecmp|ncasecmp)
  | (__)?v?snprintf(_chk)? | qsort | bsearch
  | exp(m1)? | log(1p|10)? | lgamma | pow | sqrt | fm(ax|in) | nextafter | __popcountdi2
  | protobuf_c_\w+ | XML_\w+ | ec_(init_tables|encode_data) | gf_\w+
)$""", re.X)

# Which folders of the project a folder may include besides itself.  A folder that is not listed may
# include common/, proto/ and its own service.
MAY_INCLUDE = {
    "common/base": (),
    "common/env": ("common/base",),
    "common/op": ("common/base",),
    "common/crypto": ("common/base",),
    "common/ec": ("common/base",),
    "common/obs": ("common/base",),
    "common/config": ("common/base", "common/env"),
    "common/rpc": ("common/base", "common/env"),
    "common/env_uv": ("common/base", "common/env", "common/rpc"),
    "proto": ("common/base", "common/rpc"),
    "metanode/raft": ("common/base",),
    "metanode/index": ("common/base", "common/ec/ec.h", "common/env/kv.h", "proto"),
    "metanode/visible": ("common/base",),
    "metanode/placement": ("common/base",),
    "storagenode/extent": ("common/base",),
    "storagenode/repair/core": ("common/base",),
    "storagenode/orphans/core": ("common/base",),
    "witness/core": ("common/base",),
    "gateway/s3": ("common/base", "common/crypto", "gateway/http/field.h", "gateway/policy/json.h"),
    "gateway/cache": ("common/base", "proto"),
    "gateway/crypt": ("common/base", "common/crypto", "proto/sealed.h", "proto/registry.pb-c.h"),
    "gateway/http": ("common/base",),
    # Requests know neither the work in the background nor the operator's view; both use what requests are made of.
    "gateway/op": ("common", "proto", *(f"gateway/{f}" for f in ("blob", "cache", "crypt", "http", "iam", "meta",
                                                                 "out", "policy", "s3"))),
    "gateway/admin": ("common/base", "common/env/net.h", "proto"),
    "gateway/policy": ("common/base",),
    "gateway/iam": ("common/base", "common/crypto", "gateway/policy", "gateway/s3", "proto"),
    "cli/args": ("common/base",),
    "cli/durability": ("common/base",),
    # Services never include one another.  cairnctl is none: it reads the extents of a storage node that does not
    # run, by the code that wrote them, so that there is one reading of the format.
    "cli/salvage": ("common/base", "common/ec", "storagenode/extent", "proto/sealed.h"),
    "cli/io": ("common/base", "common/crypto", "storagenode/extent", "cli/args", "cli/salvage"),
}

# Headings of docs/parameters.md, and where what stands below them is read.
PARAMETERS = {
    "All processes": "common/config/config.c",
    "cairn-gateway": "gateway/work/params.c",
    "cairn-metanode": "metanode/main.c",
    "cairn-storagenode": "storagenode/main.c",
    "cairn-witness": "witness/main.c",
    "The cluster file": "common/config/cluster.c",
}

FILE_LINES_MAX = 900
FUNCTION_LINES_MAX = 100
MARKS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


class Tree:
    """The files of the project below `root`: those under version control, or all of a planted tree."""

    def __init__(self, root, planted=False):
        self.root = pathlib.Path(root)
        self.planted = planted
        if planted:
            names = [str(p.relative_to(root)) for p in self.root.rglob("*") if p.is_file()]
        else:
            listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                                    cwd=root, stdout=subprocess.PIPE, check=True)
            names = [n for n in listed.stdout.decode().split("\0") if n and (self.root / n).is_file()]
        self.names = sorted(names)

    def files(self, *suffixes, under=("",)):
        return [n for n in self.names if n.endswith(suffixes) and n.startswith(tuple(under))]

    def text(self, name):
        return (self.root / name).read_text(errors="replace")

    def lines(self, name):
        return enumerate(self.text(name).splitlines(), 1)


def sources(tree):
    return tree.files(".c", ".h")


def make_variable(variant, name):
    out = subprocess.run(["make", "-s", "--no-print-directory", f"VARIANT={variant}", f"print-{name}"],
                         cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
                         env={k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")})
    return shlex.split(out.stdout)


def parallel(function, items):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return [finding for found in pool.map(function, items) for finding in found]


# ---- checks ----

def library(build, folder):
    return build / "lib" / ("lib" + folder.replace("/", "_") + ".a")


def symbols(archive, *flags):
    out = subprocess.run(["nm", *flags, str(archive)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True, check=False).stdout
    return [line.split()[-1] for line in out.splitlines() if re.match(r"^[0-9a-f ]{16} \w ", line)]


def check_purity(tree):
    """Pure folders call nothing that does I/O, tells the time or starts a thread."""
    build = tree.root / "build" / "rel"
    findings = []
    for folder, libraries in PURE.items():
        archive = library(build, folder)
        if not archive.exists():
            if not tree.planted:
                findings.append(f"{folder}: {archive} is missing, so nothing was checked")
            continue
        known = set()
        for each in (folder, *libraries):
            known.update(symbols(library(build, each), "--defined-only"))
        undefined = set(symbols(archive, "-u"))
        if not undefined:
            findings.append(f"{folder}: {archive} has no undefined symbols, so nothing was checked")
        findings += [f"{folder}: is pure, but refers to {name}"
                     for name in sorted(undefined - known) if not PURE_SYMBOLS.match(name)]
    return findings


def may_include(name, target):
    folder = next((f for f in MAY_INCLUDE if name.startswith(f + "/")), None)
    service = name.split("/")[0]
    if target.startswith((folder or service) + "/"):
        return True
    if folder:
        return any(target == t or target.startswith(t + "/") for t in MAY_INCLUDE[folder])
    return target.startswith(("common/", "proto/"))


def check_layers(tree):
    """Services never include one another; common/ includes no service; lower folders no higher ones."""
    findings = []
    for name in tree.files(".c", ".h", under=[f"{s}/" for s in (*SERVICES, "common", "proto")]):
        for number, line in tree.lines(name):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if found and not may_include(name, found.group(1)):
                findings.append(f"{name}:{number}: must not include {found.group(1)}")
    return findings


def check_headers(tree):
    """Each header compiles alone, and twice."""
    flags = make_variable("rel", "CFLAGS") + make_variable("rel", "WARN")
    paths = [f"-I{tree.root}", f"-I{ROOT}/build/gen", f"-I{ROOT}", "-D_GNU_SOURCE"]

    def one(name):
        text = f'#include "{name}"\n#include "{name}"\n'
        command = ["gcc", *paths, *flags, "-O0", "-U_FORTIFY_SOURCE", "-Wno-unused-function",
                   "-fsyntax-only", "-x", "c", "-"]
        done = subprocess.run(command, input=text, cwd=tree.root, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return [f"{name}:1: does not compile alone: {done.stdout.splitlines()[0] if done.stdout else ''}"] \
            if done.returncode else []

    return parallel(one, tree.files(".h"))


def check_clang(tree):
    """clang finds nothing to warn of, in the tests either (the libraries are built with it before)."""
    flags = make_variable("clang", "CFLAGS") + make_variable("clang", "WARN")
    paths = [f"-I{tree.root}", f"-I{ROOT}/build/gen", f"-I{ROOT}", "-D_GNU_SOURCE", "-DCAIRN_MUTANTS"]

    def one(name):
        done = subprocess.run(["clang", *paths, *flags, "-fsyntax-only", name], cwd=tree.root,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return [line for line in done.stdout.splitlines() if ": error:" in line or ": fatal error:" in line] \
            or ([f"{name}: clang failed"] if done.returncode else [])

    return parallel(one, tree.files(".c", under=["tests/"]))


def check_size(tree):
    """Files and functions fit in a head."""
    findings = []
    for name in sources(tree):
        lines = tree.text(name).splitlines()
        if len(lines) > FILE_LINES_MAX:
            findings.append(f"{name}:1: {len(lines)} lines, more than {FILE_LINES_MAX}")
        begin = 0
        for number, line in enumerate(lines, 1):
            if line == "{":
                begin = number
            elif line == "}" and begin:
                if number - begin > FUNCTION_LINES_MAX:
                    findings.append(f"{name}:{begin}: a function of {number - begin} lines, "
                                    f"more than {FUNCTION_LINES_MAX}")
                begin = 0
    return findings


def check_marks(tree):
    """What is not done is absent, not promised."""
    names = tree.files(".c", ".h", ".py", ".sh", ".mk", ".md", ".proto", ".tla", "Makefile", ".ci/run")
    return [f"{name}:{number}: {found.group(0)}" for name in names
            for number, line in tree.lines(name) for found in [MARKS.search(line)] if found]


def check_text(tree):
    """Files say what they are for, end in a newline, and have no trailing blanks."""
    findings = []
    for name in tree.files(".c", ".h", ".py", ".sh", ".mk", ".md", ".proto", ".yaml", ".yml", "Makefile"):
        text = tree.text(name)
        if text and not text.endswith("\n"):
            findings.append(f"{name}: does not end in a newline")
        for number, line in tree.lines(name):
            if line != line.rstrip() or "\r" in line:
                findings.append(f"{name}:{number}: blanks at the end of the line")
        if name.endswith((".c", ".h")):
            start = text.removeprefix("#pragma once").lstrip()
            if not start.startswith("/*"):
                findings.append(f"{name}:1: does not begin with a comment that says what it is for")
            if name.endswith(".h") and "#pragma once" not in text:
                findings.append(f"{name}:1: no #pragma once")
    return findings


def calls(text, pattern):
    """Calls of functions that match, as (line, whole call)."""
    for found in re.finditer(pattern + r"\s*\(", text):
        depth, end = 0, found.end() - 1
        while end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        yield text.count("\n", 0, found.start()) + 1, text[found.start():end]


def check_secrets(tree):
    """No secret, password, signing key or signature is an argument of a log call."""
    secret = re.compile(r"secret|password|passwd|signing_key|signature|credential|private_key", re.I)
    findings = []
    for name in tree.files(".c", ".h", under=[f"{s}/" for s in (*SERVICES, "common")]):
        for number, call in calls(tree.text(name), r"\b(?:log_(?:debug|info|warn|error|write)|printf|fprintf)"):
            code = re.sub(r'"(\\.|[^"\\])*"', '""', call)
            # A file's name or a count may be said; its content may not.
            for word in re.findall(r"[A-Za-z_][\w.>-]*", code):
                if secret.search(word) and not re.search(r"_(file|path|bytes|len|count)$", word):
                    findings.append(f"{name}:{number}: logs {word}")
    return findings


def check_scripts(tree):
    """Shell scripts parse, stop at the first error, and quote nothing dangerous; Python compiles."""
    findings = []
    for name in tree.names:
        path = tree.root / name
        if name.endswith(".py"):
            try:
                compile(path.read_text(), name, "exec")
            except SyntaxError as error:
                findings.append(f"{name}:{error.lineno}: {error.msg}")
            continue
        if not (name.endswith(".sh") or name == ".ci/run"):
            continue
        text = path.read_text()
        shell = "bash" if "bash" in text.split("\n", 1)[0] else "sh"
        done = subprocess.run([shell, "-n", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        if done.returncode:
            findings.append(f"{name}: {done.stdout.strip()}")
        if not re.search(r"^set -eu", text, re.M):
            findings.append(f"{name}: does not `set -eu`")
        if not os.access(path, os.X_OK):
            findings.append(f"{name}: is not executable")
        findings += [f"{name}:{number}: {line.strip()}" for number, line in tree.lines(name)
                     if re.search(r"\brm\s+-rf?\s+[^#]*\$\w+(?!:)", re.sub(r'"[^"]*"', '""', line))]
    return findings


def anchors(path):
    """The headings of a document, as links name them."""
    titles = re.findall(r"^#+ (.*)", path.read_text(errors="replace"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(tree):
    """What the documents point at is there, headings too."""
    findings = []
    for name in tree.files(".md"):
        for number, line in tree.lines(name):
            for link in re.findall(r"\]\(([^)\s]+)\)", line):
                target, _, heading = link.partition("#")
                path = (tree.root / name).parent / target if target else tree.root / name
                if re.match(r"[a-z]+:", link):
                    continue
                if not path.exists():
                    findings.append(f"{name}:{number}: links to {target}, which does not exist")
                elif heading and heading not in anchors(path):
                    findings.append(f"{name}:{number}: links to {link}, where there is no such heading")
    return findings


def check_names(tree):
    """Tests, planted bugs and metrics that the documents name exist, and every metric is documented."""
    findings = []
    tests = "\n".join(tree.text(n) for n in tree.files(".c", under=["tests/"])
                      + tree.files(".py", under=["tests/e2e/", "tests/chaos/"]))
    bugs = "".join(tree.text(n) for n in tree.files("mutant.h"))
    for name in tree.files("docs/invariants.md"):
        for number, line in tree.lines(name):
            for test in re.findall(r"\*(\w+_\w+)\*", line):
                if not re.search(rf"\b{test}\b", tests):
                    findings.append(f"{name}:{number}: there is no test {test}")
            for part in re.findall(r"\bbugs? ((?:`\w+`(?:, )?)+)", line):
                for bug in re.findall(r"`(\w+)`", part):
                    if f'"{bug}"' not in bugs:
                        findings.append(f"{name}:{number}: there is no planted bug {bug}")
    metrics = "".join(tree.text(n) for n in tree.files("docs/metrics.md"))
    for name in tree.files(".c", under=[f"{s}/" for s in (*SERVICES, "common")]):
        for number, line in tree.lines(name):
            for metric in re.findall(r'"(cairn_[a-z0-9]+_[a-z0-9_]*[a-z0-9])"', line):
                if f"`{metric}`" not in metrics:
                    findings.append(f"{name}:{number}: {metric} is not in docs/metrics.md")
    return findings


def parameters(text):
    """The parameters of the tables in a C file, each with its default as text, "required" or "none"."""
    kind = r"(?:\.type = )?CONFIG_(?:STRING|INT|BYTES|DURATION|BOOL|ADDRESS)\b"
    for row in re.finditer(rf"""\{{\s*(?:\.name = )?"(\w+)",\s*{kind}((?:"(?:\\.|[^"\\])*"|[^"{{}}])*)\}}""", text):
        value = re.match(r",\s*(?:\.value = )?\"([^\"]*)\"", row[2])
        yield row[1], "required" if "CONFIG_REQUIRED" in row[2] else value[1] if value and value[1] else "none"


def check_parameters(tree):
    """The document of parameters has each of them below its program, with its default, and no other."""
    document = "docs/parameters.md"
    if document not in tree.names:
        return [f"{document}: is not there"]
    findings, section, said = [], "", {}
    for number, line in tree.lines(document):
        section = line[3:] if line.startswith("## ") else section
        row = re.match(r"\| `(\w+)` \| (?:`([^`]+)`|(\w[^|]*)) \|", line)
        if row and section in PARAMETERS:
            said[section, row[1]] = number, row[2] or row[3]
    for section, source in PARAMETERS.items():
        if source not in tree.names:
            continue
        text = tree.text(source)
        defaults = dict(parameters(text))
        if section == "The cluster file":
            defaults = dict.fromkeys(re.findall(r'strcmp\(key, "(\w+)"\) == 0\)\n\s+return load_', text))
        for name, default in defaults.items():
            number, found = said.pop((section, name), (0, ""))
            if not number:
                findings.append(f"{document}: {section}: {name} is missing")
            elif default not in (None, found):
                findings.append(f"{document}:{number}: {name} has the default {default}")
    return findings + [f"{document}:{number}: {section} has no {name}" for (section, name), (number, _) in said.items()]


CHECKS = (check_layers, check_marks, check_text, check_size, check_secrets, check_scripts, check_links, check_names,
          check_parameters, check_purity, check_headers, check_clang)


# ---- planted violations: what each check must find, in a tree of its own ----

def plant_archive(root, folder, code):
    path = library(root / "build" / "rel", folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    obj = path.with_suffix(".o")
    subprocess.run(["gcc", "-x", "c", "-c", "-o", str(obj), "-"], input=code.encode(), check=True)
    subprocess.run(["ar", "rcs", str(path), str(obj)], check=True)


def plant_file(root, name, text, mode=0o644):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def plant_purity(root):
    plant_archive(root, "metanode/raft", "#include <time.h>\nlong x(void){return time(0);}")
    plant_archive(root, "gateway/s3", "#include <stdio.h>\nvoid y(void){fopen(\"x\", \"r\");}")
    return ["metanode/raft: is pure, but refers to time", "gateway/s3: is pure, but refers to fopen"]


def plant_layers(root):
    plant_file(root, "common/rpc/a.c", '#include "gateway/http/field.h"\n')
    plant_file(root, "witness/op/a.c", '#include "metanode/raft/raft.h"\n')
    plant_file(root, "metanode/raft/a.c", '#include "metanode/op/node.h"\n#include "common/base/err.h"\n')
    return ["common/rpc/a.c:1:", "witness/op/a.c:1:", "metanode/raft/a.c:1:"]


def plant_headers(root):
    plant_file(root, "common/base/a.h", "/* Needs another. */\nstatic inline size_t one(void) { return 1; }\n")
    plant_file(root, "common/base/b.h", "/* Is not guarded. */\nstruct twice { int a; };\n")
    plant_file(root, "common/base/c.h", "#pragma once\n/* Fine. */\nstruct once { int a; };\n")
    return ["common/base/a.h:1:", "common/base/b.h:1:"]


def plant_clang(root):
    plant_file(root, "tests/unit/a.c", "int f(int a);\nint f(int a) { a = a; return a; }\n")
    return ["tests/unit/a.c:2:"]


def plant_size(root):
    plant_file(root, "common/base/a.c", "\n" * (FILE_LINES_MAX + 1))
    plant_file(root, "common/base/b.c", "void f(void)\n{\n" + "    g();\n" * (FUNCTION_LINES_MAX + 1) + "}\n")
    return ["common/base/a.c:1:", "common/base/b.c:2:"]


def plant_marks(root):
    plant_file(root, "common/base/a.c", "/* FIX" + "ME: later. */\n")
    return ["common/base/a.c:1:"]


def plant_text(root):
    plant_file(root, "a.h", "#pragma once\n/* A. */\nint a; \n")
    plant_file(root, "b.c", "int b;\n")
    plant_file(root, "c.h", "/* C. */\n")
    return ["a.h:3:", "b.c:1:", "c.h:1:"]


def plant_secrets(root):
    plant_file(root, "gateway/a.c", 'log_info("key", 0,\n         L_STR("secret", k->secret_access_key));\n'
               'log_info("keys.read", 0, L_CSTR("file", c->secret_key_file));\n')
    return ["gateway/a.c:1:"]


def plant_scripts(root):
    plant_file(root, "a.sh", "#!/bin/sh\nset -eu\nif true; then\n", 0o755)
    plant_file(root, "b.sh", "#!/bin/sh\nrm -rf $HOLD/x\n", 0o755)
    plant_file(root, "c.sh", "#!/bin/sh\nset -eu\n")
    plant_file(root, "d.py", "def f(:\n")
    return ["a.sh:", "b.sh: does not", "b.sh:2:", "c.sh: is not", "d.py:"]


def plant_links(root):
    plant_file(root, "docs/a.md", "# A `b` of, C\n[a](a.md#a-b-of-c) [b](../b.md#c)\n[w](https://w#x)\n[d](#d)\n")
    return ["docs/a.md:2: links to ../b.md", "docs/a.md:4: links to #d"]


def plant_names(root):
    plant_file(root, "tests/unit/a.c", "static void it_holds(void **state);\n")
    plant_file(root, "common/base/mutant.h", 'X(SKIP, "skip_it", "")\n')
    plant_file(root, "docs/invariants.md", "*it_holds*; bug `skip_it`\n*it_breaks*; bugs `skip_it`, `skip_that`\n")
    plant_file(root, "docs/metrics.md", "| `cairn_meta_reads_total` | |\n")
    plant_file(root, "metanode/a.c", '"cairn_meta_reads_total"\n"cairn_meta_lists_total"\n')
    return ["docs/invariants.md:2: there is no test it_breaks", "docs/invariants.md:2: there is no planted bug skip_that",
            "metanode/a.c:2: cairn_meta_lists_total"]


def plant_parameters(root):
    plant_file(root, "witness/main.c", 'p[] = {{"slot_bits", CONFIG_INT, "18", 8, 9, "bits", "a } b, \\"c\\"", 0},\n'
               '{"lease", CONFIG_DURATION, "2s", 0, 0, NULL,\n "d", 0}, {"path", CONFIG_STRING, NULL, 0, 0, NULL, "e", 0}};\n')
    plant_file(root, "common/config/config.c", '{.name = "node_id", .type = CONFIG_STRING, .flags = CONFIG_REQUIRED, .help = "f"},\n'
               '{.name = "log", .type = CONFIG_STRING, .value = "-", .help = "g"},\n')
    plant_file(root, "common/config/cluster.c", 'if (strcmp(key, "pgs") == 0)\n    return load_count(l);\n')
    plant_file(root, "docs/parameters.md", "## All processes\n| `node_id` | none | |\n| `log` | `-` | |\n"
               "## cairn-witness\n| `slot_bits` | `17` | |\n| `path` | none | |\n| `gone` | `1` | |\n## The cluster file\n")
    return ["docs/parameters.md:2: node_id has the default required", "docs/parameters.md:5: slot_bits has the default 18",
            "docs/parameters.md: cairn-witness: lease is missing", "docs/parameters.md:7: cairn-witness has no gone",
            "docs/parameters.md: The cluster file: pgs is missing"]


def self_test(check):
    """The plant is found, each of its parts, and nothing else."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        expected = globals()["plant" + check.__name__.removeprefix("check")](root)
        findings = check(Tree(root, planted=True))
    missed = [e for e in expected if not any(f.startswith(e) for f in findings)]
    extra = [f for f in findings if not any(f.startswith(e) for e in expected)]
    return [f"tests/lint/lint.py: {check.__name__} does not find its planted violation: {e}" for e in missed] + \
        [f"tests/lint/lint.py: {check.__name__} finds what is right: {f}" for f in extra]


def main():
    tree = Tree(ROOT)
    failed = 0
    for check in CHECKS:
        start = time.monotonic()
        findings = self_test(check) + check(tree)
        for finding in findings:
            print(finding)
        failed += bool(findings)
        print(f"{'FAIL' if findings else 'ok  '} {check.__name__.removeprefix('check_'):9} "
              f"{check.__doc__.splitlines()[0]} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"lint: {len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if not shutil.which("clang"):
        sys.exit("error: clang is missing; run: make lint")
    sys.exit(main())
