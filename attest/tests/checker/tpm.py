"""What a TPM makes: keys, quotes and signatures (TPM 2.0 Library, Part 2), in Python alone."""

import hashlib

HASHES = {0x0004: "sha1", 0x000B: "sha256", 0x000C: "sha384", 0x000D: "sha512"}
RSA, ECC, AES, CFB, NULL = 0x0001, 0x0023, 0x0006, 0x0043, 0x0010
RSASSA, RSAPSS, ECDSA = 0x0014, 0x0016, 0x0018


class Malformed(Exception):
    """Bytes that are no such structure."""


class Reader:
    """Big-endian fields, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        if self.at + size > len(self.data):
            raise Malformed("cut")
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def sized(self):
        return self.take(self.number(2))

    def end(self):
        if self.at != len(self.data):
            raise Malformed("trailing")


def digest(algorithm, data):
    return hashlib.new(algorithm, data).digest()


def hash_id(reader):
    identifier = reader.number(2)
    if identifier not in HASHES:
        raise Malformed("hash")
    return HASHES[identifier]


class Key:
    """TPMT_PUBLIC (12.2.4)."""

    def __init__(self, data):
        reader = Reader(data)
        self.kind = reader.number(2)
        self.name_hash = hash_id(reader)
        self.attributes = reader.number(4)
        reader.sized()
        cipher = reader.number(2)
        if cipher == AES:
            reader.number(2)
            if reader.number(2) != CFB:
                raise Malformed("mode")
        elif cipher != NULL:
            raise Malformed("cipher")
        scheme = reader.number(2)
        if scheme in (RSASSA, RSAPSS, ECDSA):
            self.scheme = (scheme, hash_id(reader))
        elif scheme == NULL:
            self.scheme = None
        else:
            raise Malformed("scheme")
        if self.kind == RSA:
            reader.number(2)
            self.exponent = reader.number(4) or 65537
            self.modulus = reader.sized()
        elif self.kind == ECC:
            self.curve = reader.number(2)
            if reader.number(2) != NULL:
                raise Malformed("key derivation")
            self.point = (reader.sized(), reader.sized())
        else:
            raise Malformed("kind")
        reader.end()
        identifier = next(i for i, name in HASHES.items() if name == self.name_hash)
        self.name = identifier.to_bytes(2, "big") + digest(self.name_hash, data)

    def vouches(self):
        """A key that can't leave its TPM, signs nothing that the TPM did not make, and rests on
        no SHA-1: fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign, no decrypt."""
        fixed, signs = (1 << 1 | 1 << 4 | 1 << 5), (1 << 16 | 1 << 18)
        held = self.attributes & fixed == fixed and self.attributes & signs == signs
        weak = self.name_hash == "sha1" or self.scheme is None or self.scheme[1] == "sha1"
        return held and not self.attributes & 1 << 17 and not weak


class Quote:
    """TPMS_ATTEST of type quote (10.12.12)."""

    def __init__(self, data):
        reader = Reader(data)
        if reader.number(4) != 0xFF544347 or reader.number(2) != 0x8018:
            raise Malformed("no quote")
        reader.sized()
        self.nonce = reader.sized()
        self.clock = reader.number(8)
        self.resets = reader.number(4)
        self.restarts = reader.number(4)
        if reader.number(1) > 1:
            raise Malformed("safe")
        reader.number(8)
        self.selection = []
        banks = reader.number(4)
        if banks > 16:
            raise Malformed("banks")
        for _ in range(banks):
            identifier = reader.number(2)
            bits = int.from_bytes(reader.take(reader.number(1)), "little")
            pcrs = [index for index in range(bits.bit_length()) if bits >> index & 1]
            if identifier in HASHES:
                self.selection.append((HASHES[identifier], pcrs))
            elif pcrs:
                raise Malformed("bank")
        self.pcr_digest = reader.sized()
        reader.end()

    def has(self, bank, index):
        return any(name == bank and index in pcrs for name, pcrs in self.selection)


# NIST curves (FIPS 186-4, D.1.2): p, b, n, base point; a is -3.
P256 = (
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    (
        0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
    ),
)


# Points are (X, Y, Z) for x = X / Z^2 and y = Y / Z^3: only the last of a sum costs an inversion.


def twice(p, point):
    if point is None:
        return None
    x, y, z = point
    delta, gamma = z * z % p, y * y % p
    beta, alpha = x * gamma % p, 3 * (x - delta) * (x + delta) % p
    u = (alpha * alpha - 8 * beta) % p
    return u, (alpha * (4 * beta - u) - 8 * gamma * gamma) % p, 2 * y * z % p


def plus(p, one, other):
    if one is None or other is None:
        return one or other
    (x, y, z), (u, v, w) = one, other
    zz, ww = z * z % p, w * w % p
    left, right = x * ww % p, y * ww * w % p
    h, r = (u * zz - left) % p, (v * zz * z - right) % p
    if h == 0:
        return None if r else twice(p, one)
    hh = h * h % p
    hhh, middle = h * hh % p, left * hh % p
    x = (r * r - hhh - 2 * middle) % p
    return x, (r * (middle - x) - right * hhh) % p, h * z * w % p


def sum_of(p, count, point, other_count, other):
    """count times point, and other_count times other."""
    both, total = plus(p, point, other), None
    for bit in reversed(range(max(count.bit_length(), other_count.bit_length()))):
        total = twice(p, total)
        chosen = (count >> bit & 1, other_count >> bit & 1)
        total = plus(p, total, {(0, 0): None, (1, 0): point, (0, 1): other, (1, 1): both}[chosen])
    return total


def ecdsa(point, hashed, r, s):
    p, b, n, base = P256
    x, y = point
    if not (0 < r < n and 0 < s < n) or max(x, y) >= p or (y * y - x * x * x + 3 * x - b) % p:
        return False
    inverse = pow(s, -1, n)
    z = int.from_bytes(hashed, "big")
    total = sum_of(p, z * inverse % n, (*base, 1), r * inverse % n, (x, y, 1))
    return total is not None and total[0] * pow(total[2], -2, p) % p % n == r


PREFIXES = {  # RFC 8017, 9.2, note 1
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def pss(encoded, hashed, algorithm, bits):
    """EMSA-PSS-VERIFY (RFC 8017, 9.1.2) with a salt as long as the hash."""
    size = len(hashed)
    if len(encoded) < 2 * size + 2 or encoded[-1] != 0xBC:
        return False
    masked, found = encoded[: -size - 1], encoded[-size - 1 : -1]
    mask = b""
    while len(mask) < len(masked):
        mask += digest(algorithm, found + (len(mask) // size).to_bytes(4, "big"))
    block = bytearray(a ^ b for a, b in zip(masked, mask))
    spare = 8 * len(encoded) - bits
    if masked[0] >> (8 - spare) if spare else 0:
        return False
    block[0] &= 0xFF >> spare
    zeroes = len(block) - size - 1
    if any(block[:zeroes]) or block[zeroes] != 1:
        return False
    salt = bytes(block[zeroes + 1 :])
    return digest(algorithm, bytes(8) + hashed + salt) == found


def signed(key, message, signature):
    """Whether a TPMT_SIGNATURE (11.3.4) of that key is over the message."""
    try:
        reader = Reader(signature)
        scheme, algorithm = reader.number(2), hash_id(reader)
        if key.scheme is not None and key.scheme != (scheme, algorithm):
            return False
        hashed = digest(algorithm, message)
        if key.kind == ECC:
            numbers = [reader.sized(), reader.sized()]
            reader.end()
            # Other curves are not needed by any test; who meets one will see a difference.
            if scheme != ECDSA or key.curve != 0x0003 or algorithm != "sha256":
                return False
            point = tuple(int.from_bytes(number, "big") for number in key.point)
            return ecdsa(point, hashed, *(int.from_bytes(number, "big") for number in numbers))
        value = reader.sized()
        reader.end()
    except Malformed:
        return False
    modulus = int.from_bytes(key.modulus, "big")
    size = len(key.modulus)
    if size < 256 or len(value) != size or algorithm not in PREFIXES:
        return False
    encoded = pow(int.from_bytes(value, "big"), key.exponent, modulus).to_bytes(size, "big")
    if scheme == RSASSA:
        tail = PREFIXES[algorithm] + hashed
        return encoded == b"\0\1" + b"\xff" * (size - len(tail) - 3) + b"\0" + tail
    return scheme == RSAPSS and pss(encoded, hashed, algorithm, modulus.bit_length() - 1)
