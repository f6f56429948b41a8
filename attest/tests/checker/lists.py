"""Measurement lists (Documentation/security/IMA-templates.rst), the firmware's log (TCG PC Client
Platform Firmware Profile, 10) and `aggregate` (kernel/INTERFACE.md)."""

import hashlib
import hmac
import struct

SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}

TEMPLATES = {
    "ima": ["d", "n"],
    "ima-ng": ["d-ng", "n-ng"],
    "ima-sig": ["d-ng", "n-ng", "sig"],
    "ima-ngv2": ["d-ngv2", "n-ng"],
    "ima-sigv2": ["d-ngv2", "n-ng", "sig"],
    "ima-buf": ["d-ng", "n-ng", "buf"],
    "ima-modsig": ["d-ng", "n-ng", "sig", "d-modsig", "modsig"],
}
OVERFLOW = b"ima_container_overflow"


class Broken(Exception):
    """A list that is not as it is written."""


def digest(algorithm, data):
    return hashlib.new(algorithm, data).digest()


def initial(bank, index):
    return (b"\xff" if 17 <= index <= 22 else b"\0") * SIZES[bank]


def extend(bank, value, event):
    return digest(bank, value + event)


class Entry:
    """A line of a list."""

    def __init__(self, pcr, logged, template, data):
        self.pcr, self.logged, self.template, self.data = pcr, logged, template, data
        self.violation = not any(logged)
        self.fields = self.split()

    def split(self):
        names = TEMPLATES.get(self.template)
        if names is None:
            return {}
        if self.template == "ima":
            return {"d": self.data[:20], "n": self.data[24:]}
        values, at = [], 0
        while at < len(self.data):
            size = struct.unpack_from("<I", self.data, at)[0]
            values.append(self.data[at + 4 : at + 4 + size])
            at += 4 + size
        return dict(zip(names, values)) if len(values) == len(names) else {}

    def hashed(self):
        if self.template != "ima":
            return self.data
        return self.data[:20] + self.data[24:].ljust(256, b"\0")

    def event(self, bank):
        return b"\xff" * SIZES[bank] if self.violation else digest(bank, self.hashed())

    def edited(self, algorithm):
        return not self.violation and digest(algorithm, self.hashed()) != self.logged

    def name(self):
        name = self.fields.get("n-ng", self.fields.get("n"))
        return name[:-1] if name is not None and name.endswith(b"\0") else name

    def file_digest(self):
        """Algorithm and bytes."""
        if "d" in self.fields:
            return "sha1", self.fields["d"]
        field = self.fields.get("d-ng", self.fields.get("d-ngv2"))
        if field is None or b"\0" not in field:
            return None
        algorithm, value = field.split(b"\0", 1)
        algorithm = algorithm.removesuffix(b":").removeprefix(b"ima:").decode("latin1")
        return (algorithm, value) if SIZES.get(algorithm) == len(value) else None

    def buffer(self):
        found, buffer = self.file_digest(), self.fields.get("buf")
        same = found and buffer is not None and digest(found[0], buffer) == found[1]
        return buffer if same else None


def entries(part):
    """The lines of a binary list."""
    assert part["form"] == "binary", "no test keeps evidence with lists in text"
    data, size = part["bytes"], SIZES[part["digests"]]
    at, found = 0, []

    def number(where):
        if where + 4 > len(data):
            raise Broken("cut")
        return struct.unpack_from("<I", data, where)[0]

    while at < len(data):
        pcr, length = number(at), number(at + 4 + size)
        if pcr >= 24 or length > 255:
            raise Broken("no line")
        logged = data[at + 4 : at + 4 + size]
        at += 8 + size
        template = data[at : at + length]
        at += length
        if template == b"ima":
            start, length = at, 24 + number(at + 20)
        else:
            start, length = at + 4, number(at)
        if length > 1 << 20 or start + length > len(data):
            raise Broken("cut")
        content = data[start : start + length]
        at = start + length
        where = 0
        while template != b"ima" and where < length:
            if where + 4 > length:
                raise Broken("fields")
            where += 4 + struct.unpack_from("<I", content, where)[0]
            if where > length:
                raise Broken("fields")
        found.append(Entry(pcr, logged, template.decode("latin1"), content))
    return found


def boot_log(data, bank):
    """What each PCR holds by the firmware's log, its events, and how many lack the bank."""
    at = 0

    def take(size):
        nonlocal at
        if at + size > len(data):
            raise Broken("cut")
        at += size
        return data[at - size : at]

    def number(size=4):
        return int.from_bytes(take(size), "little")

    def sized():
        size = number()
        if size > 4 << 20:
            raise Broken("size")
        return take(size)

    take(28)
    header = sized()
    if header[:16] != b"Spec ID Event03\0" or len(header) < 28:
        raise Broken("header")
    count = int.from_bytes(header[24:28], "little")
    if count > 16 or len(header) < 28 + 4 * count:
        raise Broken("header")
    sizes = dict(struct.iter_unpack("<HH", header[28 : 28 + 4 * count]))
    ours = {"sha1": 0x4, "sha256": 0xB, "sha384": 0xC, "sha512": 0xD}[bank]
    pcrs, events, without = {}, [], 0
    while at < len(data):
        index, kind, count = number(), number(), number()
        if count > 16:
            raise Broken("count")
        found = None
        for _ in range(count):
            identifier = number(2)
            if identifier not in sizes:
                raise Broken("algorithm")
            value = take(sizes[identifier])
            if identifier == ours and len(value) == SIZES[bank]:
                found = value
        content = sized()
        if kind == 3:
            start = content.removeprefix(b"StartupLocality\0")
            if index == 0 and 0 not in pcrs and len(content) == 17 and len(start) == 1:
                pcrs[0] = start.rjust(SIZES[bank], b"\0")
        elif index < 24 and found is None:
            without += 1
        elif index < 24:
            pcrs[index] = extend(bank, pcrs.get(index, initial(bank, index)), found)
            events.append((index, found))
    return pcrs, events, without


def aggregate_lines(data):
    """PCR, batch, tag and value of each line, and the line's own bytes."""
    lines = []
    for line in data.splitlines(keepends=True) if data else []:
        words = line.decode("latin1").removesuffix("\n").split(" ")
        well = line.endswith(b"\n") and len(words) == 4
        if not well or not all(word.isdigit() for word in words[:2]) or int(words[0]) >= 24:
            raise Broken("line")
        if any(len(word) != 64 or word.strip("0123456789abcdef") for word in words[2:]):
            raise Broken("line")
        tag, value = (bytes.fromhex(word) for word in words[2:])
        lines.append((int(words[0]), int(words[1]), tag, value))
    return lines


FULL = b"\xff" * 32


def replay(lines, bank, known=None):
    """The states after each batch: how many lines, the bank's value; and PCR and start of all."""
    state = dict(known) if known else {"lines": 0, "pcr": None, "start": None, "full": False}
    state.setdefault("batch", 0)
    value = known["value"] if known else initial(bank, 0)
    states = [(state["lines"], value, dict(state))]
    at, number = 0, state["lines"]
    while at < len(lines):
        pcr, batch = lines[at][:2]
        same = []
        end = at
        while end < len(lines) and lines[end][1] == batch:
            same.append(lines[end])
            end += 1
        if state["full"] or any(line[0] != (pcr if state["pcr"] is None else state["pcr"]) for line in same):
            raise Broken("after the end, or of another PCR")
        if number == 0:
            if batch != 0 or same[0][2] != bytes(32) or len(same) != 1:
                raise Broken("no start")
            state.update(pcr=pcr, start=same[0][3])
            if bank == "sha256":
                value = same[0][3]
        elif batch != state["batch"] + 1:
            raise Broken("batches")
        if any(line[2] == FULL and line[3] == FULL for line in same):
            if len(same) != 1:
                raise Broken("the end is not alone")
            state["full"] = True
        event = digest(bank, b"".join(line[2] + line[3] for line in same))
        value = extend(bank, value, FULL[:1] * SIZES[bank] if state["full"] else event)
        number += len(same)
        state.update(lines=number, batch=batch)
        states.append((number, value, dict(state)))
        at = end
    return states


class Container:
    """Who has a container's secret knows its events."""

    def __init__(self, secret, seq, identifier):
        text = b"ima-container\0" + struct.pack("<Q", seq) + identifier.encode()
        self.key = hmac.digest(secret, text, "sha256")

    def tag(self, n):
        return hmac.digest(self.key, b"tag" + struct.pack("<Q", n), "sha256")

    def value(self, n, kind, cpcr):
        return hmac.digest(self.key, b"value" + struct.pack("<QB", n, kind) + cpcr, "sha256")
