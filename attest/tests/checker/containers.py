"""Containers' lists, and what anchors them."""

import lists
from lists import initial

PASSED, FAILED, OPEN = "passed", "failed", "not checked"
NEW = {"events": 0, "lines": 0, "cpcr": bytes(32), "closed": False}
CREATE, LINE, CLOSE = 1, 2, 3


def value_of(text):
    return bytes.fromhex(text.split(":")[-1])


class Subject:
    """A container whose secret is known, and its list, if that was brought."""

    def __init__(self, at, expected, seq, part, name):
        self.at, self.expected, self.seq, self.part, self.name = at, expected, seq, part, name
        self.key = lists.Container(bytes.fromhex(expected["secret"]), seq, expected["id"])
        self.known, self.known_as, self.values = dict(NEW), None, []

    def anchored(self):
        return self.known["events"] > 0 or bool(self.values)


class Containers:
    """The part of a verifier that looks at containers."""

    def anchors(self):
        anchors = self.evidence.get("anchors", [])
        self.containers = self.expect["containers"]
        self.met, self.strangers = set(), set()
        brought = [part["id"] for anchor in anchors for part in anchor["containers"]]
        expected = [container["id"] for container in self.containers]
        self.several = self.counted(brought, expected)
        for anchor in anchors:
            self.anchor(anchor)
        for keeper, expected in self.expect["anchors"].items():
            if all(anchor["keeper"] != keeper for anchor in anchors):
                self.not_brought(f"aggregate:{keeper}", keeper, expected)
        for at, expected in enumerate(self.containers):
            if at not in self.met and not expected["optional"]:
                self.failed(f"container-list:{self.named(expected['id'], expected['seq'])}")

    @staticmethod
    def counted(*all_ids):
        several = set()
        for ids in all_ids:
            once = set()
            for identifier in ids:
                (several if identifier in once else once).add(identifier)
        return several

    def named(self, identifier, seq):
        return f"{identifier}#{seq}" if seq is not None and identifier in self.several else identifier

    def begins(self, expected, bank):
        if expected["start"] and bank == "sha256":
            return value_of(expected["start"])
        return initial(bank, expected["pcr"])

    def not_brought(self, question, keeper, expected):
        if keeper in (self.same_boot() or {}).get("anchors", {}):
            return self.failed(question)
        if not self.quote.has(self.bank, expected["pcr"]):
            return self.open(question)
        if self.pcr(self.bank, expected["pcr"]) != self.begins(expected, self.bank):
            self.open(question, doubted=True)
        return None

    def before(self, keeper):
        """What was accounted for of this boot, and how much was not."""
        claims = self.expect["claims"]
        if claims and claims["resetCount"] == self.quote.resets and keeper in claims["anchors"]:
            return claims["anchors"][keeper]
        seen = (self.same_boot() or {}).get("anchors", {}).get(keeper)
        return seen if seen and seen.get("unclaimed") is not None else None

    def anchor(self, anchor):
        keeper = anchor["keeper"]
        lines, anchored = self.aggregate(anchor, f"aggregate:{keeper}")
        subjects = self.subjects(anchor)
        if lines is None:
            for subject in subjects:
                if subject.part:
                    self.open(f"container-list:{subject.name}")
                    self.open(f"container-baseline:{subject.name}")
            return
        owners = self.collect(lines[:anchored], subjects)
        subjects = self.settled(subjects)
        for line in self.left_out(anchor, lines[:anchored]):
            owners[line] = "ended"
        newer = {line[2] for line in lines[anchored:]}
        sound = set()
        for subject in subjects:
            if subject.part is None:
                continue
            audited = self.container(anchor, subject, newer)
            if audited is None:
                self.open(f"container-baseline:{subject.name}")
                continue
            sound.add(subject)
            self.baseline(subject, audited["lines"] - subject.known["lines"])
        self.complete(anchor, owners, sound)

    def aggregate(self, anchor, question):
        """Its lines, and how many of them the PCR vouches for."""
        none = (None, 0)
        keeper, bank, first = anchor["keeper"], self.bank, anchor["first"]
        expected = self.expect["anchors"].get(keeper)
        if expected is None:
            self.open(question, doubted=True)
            return none
        index = expected["pcr"]
        if not self.quote.has(bank, index):
            self.open(question)
            return none
        seen = (self.same_boot() or {}).get("anchors", {}).get(keeper)
        known = (self.known() or {}).get("anchors", {}).get(keeper)
        if first and not (known and known["aggregate"]["lines"] == first):
            self.begins_elsewhere(question)
            return none
        quoted = self.pcr(bank, index)
        if not first and not anchor["bytes"]:
            if quoted == self.begins(expected, bank):
                self.failed(question)
            else:
                self.open(question, doubted=True)
            return none
        # The first line alone says where the rest is anchored.
        try:
            head = lists.aggregate_lines(anchor["bytes"].split(b"\n")[0] + b"\n")[:1] if not first else []
            if head and head[0][0] != index or first and known["aggregate"]["pcr"] != index:
                self.open(question, doubted=True)
                return none
            lines = lists.aggregate_lines(anchor["bytes"])
            states = lists.replay(lines, bank, self.state(known["aggregate"]) if first else None)
        except lists.Broken:
            self.failed(question)
            return none
        reached = [state for count, value, state in states if value == quoted]
        before = self.before(keeper)
        known_prefixes = [p["aggregate"] for p in (seen, before) if p] if not first else []
        if not reached:
            last = self.last_boot(keeper, lines)
            cut = not first and seen and states[-1][0] < seen["aggregate"]["lines"]
            rewritten = not all(self.begins_with(lines, p) for p in known_prefixes)
            if last or cut or rewritten:
                self.failed(question)
            else:
                self.open(question, doubted=True)
            return none
        state = reached[-1]
        anchored = state["lines"] - first
        if not all(self.begins_with(lines[:anchored], prefix) for prefix in known_prefixes):
            self.failed(question)
            return none
        if state["full"]:
            self.open(question, gap=True)
        if state["start"] != self.begins(expected, "sha256"):
            self.open(question, gap=True)
        self.passed(question)
        return lines, anchored

    def state(self, aggregate):
        value = aggregate["banks"].get(self.bank)
        return {
            "lines": aggregate["lines"],
            "pcr": aggregate["pcr"],
            "start": value_of(aggregate["start"]),
            "full": aggregate["full"],
            "batch": aggregate["batch"],
            "value": value_of(value),
        }

    def begins_with(self, lines, aggregate):
        """Whether the lines that were known come to what they came to then."""
        if len(lines) < aggregate["lines"]:
            return False
        try:
            count, value, state = lists.replay(lines[: aggregate["lines"]], self.bank)[-1]
        except lists.Broken:
            return False
        return {**state, "value": value} == self.state(aggregate)

    def last_boot(self, keeper, lines):
        """Whether it is that of the boot before."""
        seen = self.seen["anchors"].get(keeper) if self.seen and self.rebooted else None
        if not seen:
            return False
        target = value_of(seen["aggregate"]["banks"][self.bank])
        return any(value == target for _, value, _ in lists.replay(lines, self.bank))

    def subjects(self, anchor):
        keeper = anchor["keeper"]
        by = {}
        for at, expected in enumerate(self.containers):
            if expected["keeper"] in (None, keeper):
                by.setdefault((expected["id"], expected["seq"]), []).append(at)
        subjects = []

        def subject(at, seq, part, name):
            expected = self.containers[at]
            if expected["secret"] is None:
                return None
            made = Subject(at, expected, seq, part, name)
            seen = (self.known() or {}).get("anchors", {}).get(keeper) if anchor["first"] else None
            known = (seen or {}).get("containers", {}).get(f"{expected['id']}#{seq}")
            if known:
                made.known = {**known, "cpcr": value_of(known["cpcr"])}
            made.known_as = (seen or {}).get("images", {}).get(f"{expected['id']}#{seq}")
            subjects.append(made)
            return made

        for part in anchor["containers"]:
            name = self.named(part["id"], part["seq"])
            whose = by.pop((part["id"], part["seq"]), None) or by.get((part["id"], None))
            if whose is None:
                self.open(f"container-list:{name}")
                continue
            for at in whose:
                self.met.add(at)
                if subject(at, part["seq"], part, name) is None:
                    self.open(f"container-list:{name}")
        for (identifier, seq), whose in by.items():
            for at in whose if seq is not None else ():
                subject(at, seq, None, self.named(identifier, seq))
        return subjects

    @staticmethod
    def collect(lines, subjects):
        """Whose each line is; each container gets its values."""
        tag = lambda subject: subject.key.tag(subject.known["events"] + len(subject.values))
        coming = {tag(subject): subject for subject in subjects}
        owners = []
        for _, batch, found, value in lines:
            if (batch == 0 and found == bytes(32)) or (found == lists.FULL and value == lists.FULL):
                owners.append("own")
                continue
            subject = coming.pop(found, None)
            if subject is None:
                owners.append(None)
                continue
            subject.values.append(value)
            coming[tag(subject)] = subject
            owners.append(subject if subject.part else None)
        return owners

    def settled(self, subjects):
        """Of several lists with one id, a secret is that of one: of the others it opens none."""
        anchored = [subject for subject in subjects if subject.anchored()]
        found, opened = {s.at for s in anchored}, {s.name for s in anchored}
        left = []
        for subject in subjects:
            vain = subject.expected["seq"] is None and not subject.anchored()
            if vain and subject.at in found:
                if subject.name not in opened:
                    self.open(f"container-list:{subject.name}")
            else:
                left.append(subject)
        return left

    def left_out(self, anchor, lines):
        """The ends of lists that were known, and are not brought any more."""
        seen = (self.same_boot() or {}).get("anchors", {}).get(anchor["keeper"])
        brought = {f"{part['id']}#{part['seq']}" for part in anchor["containers"]}
        missing = {
            bytes.fromhex(coming["tag"]): (name, bytes.fromhex(coming["close"]))
            for name, coming in ((seen or {}).get("open") or {}).items()
            if name not in brought
        }
        ends = []
        for at, (_, _, tag, value) in enumerate(lines):
            name, close = missing.pop(tag, (None, None))
            if name is not None and value == close:
                ends.append(at)
            elif name is not None:
                self.open(f"container-list:{name}")
        for name, _ in missing.values():
            self.open(f"container-list:{name}")
        return ends

    def container(self, anchor, subject, newer):
        question, part = f"container-list:{subject.name}", subject.part["list"]
        if not subject.anchored():
            if anchor["first"] or subject.key.tag(0) in newer:
                self.open(question)
            else:
                self.failed(question)
            return None
        if part["first"] != subject.known["lines"]:
            self.failed(question)
            return None
        try:
            subject.entries = lists.entries(part)
        except lists.Broken:
            self.failed(question)
            return None
        if any(entry.edited(part["digests"]) for entry in subject.entries):
            self.failed(question)
        if any(e.violation and e.name() == lists.OVERFLOW for e in subject.entries):
            self.open(question, gap=True)
            self.open(f"container-baseline:{subject.name}")
        audited = self.audit(subject)
        if audited is None:
            self.failed(question)
            return None
        if subject.part.get("left") and not audited["closed"]:
            self.open(question, gap=True)
            self.open(f"container-baseline:{subject.name}")
        self.passed(question)
        return audited

    @staticmethod
    def audit(subject):
        """Each value vouches for the list up to its line."""
        state, key = dict(subject.known), subject.key
        events = [entry.event("sha256") for entry in subject.entries]
        first = state["lines"]
        for value in subject.values:
            n, at = state["events"], state["lines"] - first
            if n == 0:
                if value != key.value(0, CREATE, state["cpcr"]):
                    return None
            elif value == key.value(n, CLOSE, state["cpcr"]):
                if at < len(events):
                    return None
                state["closed"] = True
            else:
                if at >= len(events):
                    return None
                cpcr = lists.extend("sha256", state["cpcr"], events[at])
                if value != key.value(n, LINE, cpcr):
                    return None
                state.update(lines=state["lines"] + 1, cpcr=cpcr, closed=False)
            state["events"] += 1
        return state

    def baseline(self, subject, anchored):
        from verify import Baseline

        question, expected = f"container-baseline:{subject.name}", subject.expected
        listed = expected["baseline"]
        if listed is None:
            image, images = subject.part.get("image"), self.expect["images"]
            listed = (images or {}).get(image) if image else None
            unlike = subject.known_as != image if subject.known_as else subject.known["lines"] > 0
            if listed is None or unlike:
                return self.open(question)
        allowed = Baseline(listed)
        for entry in subject.entries[:anchored]:
            overflow = entry.violation and entry.name() == lists.OVERFLOW
            if not overflow and entry.buffer() is None and not allowed.allows(entry):
                self.failed(question)
        return self.passed(question)

    def complete(self, anchor, owners, sound):
        question = f"aggregate-complete:{anchor['keeper']}"
        missing = lambda part: sum(o not in ("own", "ended") and o not in sound for o in part)
        before = self.before(anchor["keeper"])
        known = before["aggregate"]["lines"] - anchor["first"] if before else -1
        if known >= 0:
            known = min(known, len(owners))
            old = before["unclaimed"]
            old = old if anchor["first"] else min(old, missing(owners[:known]))
            unclaimed = old + missing(owners[known:])
        elif anchor["first"] == 0:
            unclaimed = missing(owners)
        else:
            return self.open(question)
        wrong = sum(isinstance(owner, Subject) and owner not in sound for owner in owners)
        if unclaimed > wrong:
            self.open(question, doubted=True)
        elif unclaimed:
            self.open(question)
        else:
            self.passed(question)
        return None
