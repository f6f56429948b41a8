"""Holds evidence against what is expected, as docs/attestation.md says: for each question whether
it passed, failed, was not checked or was waived, and what it comes to."""

import base64
import itertools

import lists
import tpm
from containers import Containers
from lists import initial

PASSED, FAILED, OPEN, WAIVED = "passed", "failed", "not checked", "waived"


def parsed(text):
    """Algorithm and bytes of `sha256:…`."""
    algorithm, value = text.split(":")
    return algorithm, bytes.fromhex(value)


class Baseline:
    """What may run, of the names that the evidence has."""

    def __init__(self, listed):
        self.listed = {
            bytes.fromhex(name): [parsed(text) for text in digests]
            for name, digests in listed.items()
        }

    def allows(self, entry):
        """Whether a line is of a file that may run; the kernel writes `_` for a space."""
        name, found = entry.name(), entry.file_digest()
        if name is None or entry.violation or found is None or found[0] == "sha1":
            return False
        if entry.template not in lists.TEMPLATES or name.startswith(b"memfd:"):
            return False
        if name in self.listed:
            return found in self.listed[name]
        scores = [at for at, byte in enumerate(name) if byte == ord("_")]
        if len(scores) > 8:
            return False
        for spaces in itertools.product([False, True], repeat=len(scores)):
            spaced = bytearray(name)
            for at, space in zip(scores, spaces):
                spaced[at] = ord(" ") if space else ord("_")
            if found in self.listed.get(bytes(spaced), []):
                return True
        return False


class Verifier(Containers):
    def __init__(self, case):
        self.evidence, self.expect, self.seen = case["evidence"], case["expect"], case["seen"]
        self.now = case["now"]
        self.bank = self.expect["bank"]
        self.answers, self.doubted = {}, set()
        self.gap = self.fault = self.rebooted = False
        self.quote = self.host = self.claimed = None
        anchors = self.evidence.get("anchors", [])
        containers = [part for anchor in anchors for part in anchor.get("containers", [])]
        parts = [c["list"] for c in containers] + [self.evidence.get("host")]
        for part in filter(None, parts):
            part["bytes"] = base64.b64decode(part["data"])
        for anchor in anchors:
            anchor["bytes"] = base64.b64decode(anchor["aggregate"])
            anchor.setdefault("containers", [])

    # What is said of a question. A failure stays; what was not checked in one respect has not
    # passed by another.

    def passed(self, question):
        self.answers.setdefault(question, PASSED)
        if self.answers[question] == WAIVED:
            self.answers[question] = PASSED

    def failed(self, question):
        self.fault = True
        self.answers[question] = FAILED

    def open(self, question, doubted=False, gap=False):
        self.gap |= gap
        if doubted:
            self.doubted.add(question)
        if self.answers.get(question) != FAILED:
            self.answers[question] = OPEN

    def verdict(self):
        self.verify()
        for question, answer in self.answers.items():
            kind = question.split(":")[0]
            waived = kind in self.expect["waived"] and question not in self.doubted
            if answer == OPEN and (waived or kind in self.expect["excused"]):
                self.answers[question] = WAIVED
        words = set(self.answers.values())
        if self.fault or FAILED in words:
            return "untrusted"
        return "unproven" if not words or self.gap or OPEN in words else "trusted"

    def pcr(self, bank, index):
        value = self.evidence["pcrs"].get(bank, {}).get(str(index))
        return parsed(value)[1] if value else None

    def same_boot(self):
        return self.seen if not self.rebooted else None

    def known(self):
        """What the next lines may follow."""
        seen = self.same_boot()
        judged = self.expect["judgedBy"]
        return seen if seen and judged and seen.get("judgedBy") == judged else None

    def begins_elsewhere(self, question, gap=False):
        """A part begins where nothing that is known ends."""
        if self.same_boot() and not self.known():
            self.open(question)
        elif gap:
            self.open(question, gap=True)
        else:
            self.failed(question)

    def verify(self):
        quote = self.signed()
        if quote is None:
            return
        self.quote = quote
        self.endorsed()
        self.nonce()
        told = self.pcrs()
        self.clock()
        if told:
            self.host_list()
            self.anchors()
            self.boot()
            self.host_programs()

    def signed(self):
        try:
            key = tpm.Key(base64.b64decode(self.evidence["ak"]))
        except tpm.Malformed:
            self.failed("quote")
            return None
        name = self.expect["akName"]
        if name is None:
            self.open("attestation-key")
        elif bytes.fromhex(name) == key.name:
            self.passed("attestation-key")
        else:
            self.failed("attestation-key")
        attest, signature = (
            base64.b64decode(self.evidence["quote"][part]) for part in ("attest", "signature")
        )
        try:
            if not key.vouches() or not tpm.signed(key, attest, signature):
                raise tpm.Malformed("not signed")
            quote = tpm.Quote(attest)
        except tpm.Malformed:
            self.failed("quote")
            return None
        self.passed("quote")
        return quote

    def endorsed(self):
        enrolled = self.expect["enrolled"] and self.answers["attestation-key"] == PASSED
        self.answers["endorsement"] = WAIVED if enrolled else OPEN

    def nonce(self):
        nonce = self.expect["nonce"]
        if nonce is None:
            return self.open("nonce")
        fresh = base64.b64decode(nonce["value"]) == self.quote.nonce
        if nonce["issued"] is not None:
            fresh &= max(0, self.now - nonce["issued"]) <= nonce["goodFor"]
        return self.passed("nonce") if fresh else self.failed("nonce")

    def pcrs(self):
        for bank, indexes in self.expect["selection"]:
            if not all(self.quote.has(bank, index) for index in indexes):
                self.failed("pcrs")
        values = [self.pcr(bank, i) for bank, pcrs in self.quote.selection for i in pcrs]
        algorithm = {32: "sha256", 48: "sha384", 64: "sha512"}.get(len(self.quote.pcr_digest))
        told = algorithm and None not in values
        told = told and lists.digest(algorithm, b"".join(values)) == self.quote.pcr_digest
        if told:
            self.passed("pcrs")
        else:
            self.failed("pcrs")
        return told

    def clock(self):
        if not self.seen:
            self.answers["clock"] = WAIVED
            return
        then, quote = self.seen["clock"], self.quote
        before = (then["resetCount"], then["restartCount"], then["clock"])
        self.rebooted = quote.resets != before[0]
        back = quote.resets < before[0]
        if quote.resets == before[0]:
            back = quote.restarts < before[1] or quote.clock < before[2]
        if back:
            self.open("clock", doubted=True)
        else:
            self.passed("clock")

    # The host's list.

    def host_list(self):
        question, index = "host-list", self.expect["hostPcr"]
        part = self.evidence.get("host")
        quoted = self.pcr(self.bank, index) if self.quote.has(self.bank, index) else None
        if part is None:
            # A kernel without IMA has no list, and has extended nothing.
            had = (self.same_boot() or {}).get("host")
            if quoted == initial(self.bank, index) and not had:
                return self.open(question, doubted=True)
            return self.failed(question)
        if quoted is None:
            return self.open(question)
        known = (self.known() or {}).get("host")
        if part["first"] == 0:
            state, before = {"lines": 0, "violations": 0, "pcrs": {}}, {}
        elif known and known["lines"] == part["first"]:
            state, before = self.replayed(known), dict(self.seen.get("boot", {}))
        else:
            # Others may have exported what is before, and had the kernel delete it.
            return self.begins_elsewhere(question, gap=True)
        try:
            lines = lists.entries(part)
        except lists.Broken:
            return self.failed(question)
        if any(entry.edited(part["digests"]) for entry in lines):
            self.failed(question)
        untouched = quoted == initial(self.bank, index)
        if untouched and part["first"] == 0 and any(entry.pcr == index for entry in lines):
            # A list of before a reboot, or one that was set back, is none that no TPM saw.
            seen = self.seen and self.seen.get("host")
            if seen and (not self.rebooted or self.of_the_last_boot(lines, index)):
                return self.failed(question)
            return self.open(question, gap=True)
        reached, boot = None, {"boot": before.get("bootAggregate"), "version": before.get("version")}
        boot["boot"] = parsed(boot["boot"]) if boot["boot"] else None
        value = lambda: state["pcrs"].get(index, initial(self.bank, index))
        for at in range(len(lines) + 1):
            if value() == quoted:
                pcrs = dict(state["pcrs"])
                reached = (at, {**state, "pcrs": pcrs}, dict(boot))
            if at == len(lines):
                break
            entry = lines[at]
            self.push(state, entry)
            if entry.pcr == index and entry.name() == b"boot_aggregate":
                if part["first"] + at == 0:
                    boot["boot"] = entry.file_digest()
            elif entry.pcr == index and entry.name() == b"kernel_version" and not entry.violation:
                version = entry.buffer()
                if version is not None:
                    boot["version"] = version.removesuffix(b"\0").decode("latin1")
        if reached is None:
            return self.failed(question)
        anchored, state, boot = reached
        if state["lines"] == 0:
            self.failed(question)
        if anchored < len(lines) and self.of_the_last_boot(lines[anchored:], index):
            self.failed(question)
        if part["first"] == 0 and not self.begins_as_known(lines[:anchored]):
            return self.failed(question)
        for other, held in state["pcrs"].items():
            vouched = self.quote.has(self.bank, other) and other not in (16, 20, 21, 22, 23)
            if other != index and not (vouched and self.pcr(self.bank, other) == held):
                self.open(question, doubted=True)
        self.passed(question)
        self.host = {"lines": lines[:anchored], **boot}
        return None

    def replayed(self, known):
        pcrs = known["banks"].get(self.bank, {})
        pcrs = {int(index): parsed(value)[1] for index, value in pcrs.items()}
        return {"lines": known["lines"], "violations": known["violations"], "pcrs": pcrs}

    def push(self, state, entry):
        held = state["pcrs"].get(entry.pcr, initial(self.bank, entry.pcr))
        state["pcrs"][entry.pcr] = lists.extend(self.bank, held, entry.event(self.bank))
        state["lines"] += 1
        state["violations"] += entry.violation

    def begins_as_known(self, lines):
        known = (self.same_boot() or {}).get("host")
        if not known:
            return True
        state = {"lines": 0, "violations": 0, "pcrs": {}}
        for entry in lines[: known["lines"]]:
            self.push(state, entry)
        return state == self.replayed(known)

    def of_the_last_boot(self, lines, index):
        """Whether the list of the boot before stands behind this one's."""
        known = self.seen.get("host") if self.seen and self.rebooted else None
        if not known:
            return False
        target = self.replayed(known)["pcrs"].get(index, initial(self.bank, index))
        state = {"lines": 0, "violations": 0, "pcrs": {}}
        for entry in lines:
            self.push(state, entry)
            if state["pcrs"].get(index) == target:
                return True
        return False

    # What booted.

    def left_alone(self, bank):
        """Firmware extends each of PCRs 0 to 7, or has left the bank to others."""
        return any(
            self.quote.has(bank, index) and self.pcr(bank, index) == initial(bank, index)
            for index in range(8)
        )

    def boot_log(self):
        data = base64.b64decode(self.evidence.get("bootLog") or "")
        try:
            pcrs, events, without = lists.boot_log(data, self.bank)
        except lists.Broken:
            self.open("boot-log", doubted=bool(data))
            return None
        if without or not any(index <= 7 for index in pcrs) or self.left_alone(self.bank):
            self.open("boot-log")
            return None
        asked = [i for i in range(10) if self.quote.has(self.bank, i) and (i <= 7 or i in pcrs)]
        if not asked:
            self.open("boot-log")
            return None
        agreed = [i for i in asked if self.pcr(self.bank, i) == pcrs.get(i, initial(self.bank, i))]
        if agreed != asked:
            self.open("boot-log", doubted=True)
        self.passed("boot-log")
        return {event for index, event in events if index in agreed}

    def boot_aggregate(self):
        found = self.host and self.host["boot"]
        if not found:
            return self.open("boot-aggregate")
        bank = found[0]
        indexes = range(8) if bank == "sha1" else range(10)
        values = [self.pcr(bank, index) for index in indexes if self.quote.has(bank, index)]
        if len(values) < len(indexes) or None in values or self.left_alone(bank):
            return self.open("boot-aggregate")
        fits = found[1] in (lists.digest(bank, b"".join(v)) for v in (values, values[:8]))
        return self.passed("boot-aggregate") if fits else self.open("boot-aggregate", doubted=True)

    def boot(self):
        events = self.boot_log()
        self.boot_aggregate()
        policy, question = self.expect["kernel"], "kernel"
        if not policy or not any(policy.values()):
            return self.open(question)

        def holds(known, right):
            if not known:
                self.open(question)
            elif not right:
                self.failed(question)

        if policy["bootAggregate"]:
            found = self.host and self.host["boot"]
            holds(found, found in [parsed(text) for text in policy["bootAggregate"]])
        for index, allowed in policy["pcrs"].items():
            bank = allowed[0].split(":")[0]
            value = self.pcr(bank, index) if self.quote.has(bank, int(index)) else None
            holds(value, (bank, value) in [parsed(text) for text in allowed])
        for event in policy["bootEvents"]:
            holds(events is not None, parsed(event)[1] in (events or ()))
        if policy["versions"]:
            holds(self.host, self.host and self.host["version"] in policy["versions"])
        if policy["containerIma"]:
            brought = any(a["keeper"] == "kernel" for a in self.evidence.get("anchors", []))
            answer = self.answers.get("aggregate:kernel") if brought else None
            holds(answer != OPEN, answer == PASSED)
        self.passed(question)
        return None

    def host_programs(self):
        policy, question = self.expect["host"], "host-programs"
        if not policy or not self.host:
            return self.open(question)
        baseline = Baseline(policy["baseline"])
        programs = {bytes.fromhex(name) for name in policy["programs"]}
        first, met = self.evidence["host"]["first"], set()
        for number, entry in enumerate(self.host["lines"], first):
            name = entry.name()
            if (number == 0 and name == b"boot_aggregate") or entry.buffer() is not None:
                continue
            own = name in programs and entry.template in lists.TEMPLATES
            if own and entry.pcr == self.expect["hostPcr"]:
                met.add(name)
            if (own or policy["everything"]) and not baseline.allows(entry):
                self.failed(question)
        if first == 0 and met != programs:
            self.failed(question)
        return self.passed(question)
